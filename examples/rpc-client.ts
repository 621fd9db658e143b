/**
 * Leadcast from another service, over Connect: put a bot, a campaign and leads, then create, start and watch a broadcast.
 *
 *     npm start                                  # in another terminal
 *     LEADCAST_TOKEN=$(node -p "require('./.data/rpc-tokens.json').platform") npx bun examples/rpc-client.ts
 *
 * | variable      | default                |                                                                |
 * | CAMPAIGN_URL  | http://127.0.0.1:7002  | the campaign service                                           |
 * | BROADCAST_URL | http://127.0.0.1:7003  | the broadcast service                                          |
 * | LEADCAST_TOKEN|                        | secret of a service token that may call both; required         |
 * | ACCOUNT_ID    | 1                      | whose bot, campaign and broadcast it is; 1 is the demo account |
 * | BOT_TOKEN     | one for the sandbox    | the bot's Bot API token                                        |
 *
 * Run again, its Puts change nothing, since they are by id; CreateBroadcast makes another broadcast each time.
 * In a repository of your own generate the clients from `proto/` with `buf generate`, and import those.
 */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { BroadcastState } from "#gen/leadcast/broadcast/v1/broadcast_pb.ts";
import { BroadcastService, type Progress } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { ErrorInfoSchema, ErrorReason } from "#gen/leadcast/errors/v1/error_info_pb.ts";

const accountId = BigInt(process.env.ACCOUNT_ID || "1");
const botToken = process.env.BOT_TOKEN || "7019001:sandbox-token-of-the-rpc-example";
/** The platform's own ids: with ids of its own a Put can be repeated. 0 would have one assigned, and make another each time. */
const botId = 9_001n;
const campaignId = 9_001n;
const leadCount = 20;

const withToken: Interceptor = (next) => (request) => {
  request.header.set("authorization", `Bearer ${process.env.LEADCAST_TOKEN}`);
  return next(request);
};

/** Connect over HTTP/1.1. `@connectrpc/connect-node` has the same for gRPC; the servers speak both at one port. */
function transportTo(baseUrl: string) {
  return createConnectTransport({
    baseUrl,
    interceptors: [withToken],
    useBinaryFormat: true,
    defaultTimeoutMs: 15_000,
  });
}

const campaigns = createClient(CampaignService, transportTo(process.env.CAMPAIGN_URL || "http://127.0.0.1:7002"));
const broadcasts = createClient(BroadcastService, transportTo(process.env.BROADCAST_URL || "http://127.0.0.1:7003"));

async function putLeads(): Promise<void> {
  await campaigns.putBot({ bot: { id: botId, accountId, token: botToken, username: "rpc_example_bot" } });
  await campaigns.putCampaign({
    campaign: { id: campaignId, accountId, botId, name: "RPC example", code: "rpc" },
  });
  const leads = Array.from({ length: leadCount }, (_, i) => ({
    chatId: BigInt(600_000_001 + i),
    status: LeadStatus.APPROVE,
    // When the lead entered the status: an equal or older time changes nothing, so a retry is harmless.
    statusTime: timestampFromMs(Date.UTC(2026, 0, 1) + i * 1_000),
    user: `Reader ${i + 1}`,
    click: `click-${i + 1}`,
  }));
  // Up to 10,000 in a call, all or none. These are old entries: no follow-up shall go out for them.
  const { leadIds } = await campaigns.putLeads({ accountId, campaignId, leads, scheduleFollowUps: false });
  console.log(`${leadIds.length} leads are in campaign ${campaignId}`);
}

async function sendBroadcast(): Promise<void> {
  const name = "From the RPC example";
  const { broadcastId } = await broadcasts.createBroadcast({ accountId, name });
  await broadcasts.updateBroadcast({
    accountId,
    broadcastId,
    name,
    audience: { statuses: [LeadStatus.APPROVE], campaignIds: [campaignId] },
    body: { text: "Hello {user}, *20% off* until Sunday", button: "Claim", link: "https://example.com/?c={click}" },
  });
  const { queued } = await broadcasts.startBroadcast({ accountId, broadcastId });
  console.log(`broadcast ${broadcastId}: ${queued} messages queued`);
  const last = await watch(broadcastId);
  console.log(
    `ended ${BroadcastState[last?.state ?? 0]}: sent ${last?.counters?.sent}, failed ${last?.counters?.failed}`,
  );
}

/** The stream ends when the broadcast does; a server that stops ends it with UNAVAILABLE, and then it is opened again. */
async function watch(broadcastId: bigint): Promise<Progress | undefined> {
  let last: Progress | undefined;
  for (;;) {
    try {
      // 0: no deadline, for as long as the broadcast lasts.
      for await (const { progress } of broadcasts.watchBroadcast({ accountId, broadcastId }, { timeoutMs: 0 })) {
        last = progress;
        console.log(`sent ${progress?.counters?.sent}, queued ${progress?.counters?.queued}`);
      }
      return last;
    } catch (error) {
      if (ConnectError.from(error).code !== Code.Unavailable) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
  }
}

/** Every refusal carries a typed reason and, where one is at fault, the request's field. */
function explain(error: unknown): string {
  const failure = ConnectError.from(error);
  const info = failure.findDetails(ErrorInfoSchema)[0];
  const reason = info === undefined ? Code[failure.code] : ErrorReason[info.reason];
  return `${reason}${info?.field ? ` (${info.field})` : ""}: ${failure.rawMessage}`;
}

try {
  await putLeads();
  await sendBroadcast();
} catch (error) {
  console.error(explain(error));
  process.exitCode = 1;
}
