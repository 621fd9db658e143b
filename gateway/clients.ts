import { type CallOptions, type Client, createClient, type Transport } from "@connectrpc/connect";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { clientAddressHeader, clientSessionHeader, requestIdHeader } from "#services/platform/rpc/context.ts";

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

/** Whom a request is made for, as the services are to note it. */
export interface OnBehalfOf {
  readonly requestId: string;
  readonly address: string;
  readonly sessionId?: string | undefined;
}

/** Options of every RPC that is made for one request: a deadline, and who and which request it is for. */
export function callOptionsFor({ requestId, address, sessionId = "" }: OnBehalfOf): CallOptions {
  const headers = { [requestIdHeader]: requestId, [clientAddressHeader]: address, [clientSessionHeader]: sessionId };
  return { timeoutMs: callTimeoutMs, headers };
}
