import { type CallOptions, type Client, createClient, type Transport } from "@connectrpc/connect";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";

/** The services that the gateway calls. */
export interface GatewayClients {
  readonly account: Client<typeof AccountService>;
  readonly campaign: Client<typeof CampaignService>;
  readonly broadcast: Client<typeof BroadcastService>;
}

/** One transport per service; they may be the same one. */
export function createClients(transports: Record<keyof GatewayClients, Transport>): GatewayClients {
  return {
    account: createClient(AccountService, transports.account),
    campaign: createClient(CampaignService, transports.campaign),
    broadcast: createClient(BroadcastService, transports.broadcast),
  };
}

/** A Start of a million leads takes a few seconds, and an upload of 50 MB too; what takes longer is as good as away. */
const callTimeoutMs = 30_000;

/** Options of every RPC that is made for one request: a deadline, and the id that ties the log lines together. */
export function callOptionsFor(requestId: string): CallOptions {
  return { timeoutMs: callTimeoutMs, headers: { "x-request-id": requestId } };
}
