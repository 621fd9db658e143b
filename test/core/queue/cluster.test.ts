import { describe, expect, test } from "bun:test";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { connect } from "nats";
import { BroadcastState } from "#gen/leadcast/broadcast/v1/broadcast_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { ensureStream } from "#services/core/queue/streams.ts";
import { STREAM } from "#services/core/queue/subjects.ts";
import { createStack, type Stack } from "#test/conformance/stack.ts";
import { eventually } from "#test/support/eventually.ts";
import { createTestNatsCluster, type TestNatsCluster } from "#test/support/nats-cluster.ts";

const LEADS = 1_500;
const botToken = "880001:the-only-bot-of-the-cluster-tests-aaaaaaa";

/** A running broadcast to all leads of one new bot. */
async function startBroadcast(stack: Stack): Promise<{ accountId: bigint; broadcastId: bigint }> {
  const { account, campaign, broadcast } = stack.platform;
  const { tariff } = await account.putTariff({ tariff: { name: "all", broadcasts: true } });
  const paidUntilTime = timestampFromMs(Date.now() + 86_400_000);
  const put = await account.putAccount({ account: { tariffId: tariff!.id, paidUntilTime } });
  const accountId = put.account!.id;
  const { bot } = await campaign.putBot({ bot: { accountId, token: botToken, messagesPerSecond: 300 } });
  const { campaign: made } = await campaign.putCampaign({ campaign: { accountId, botId: bot!.id } });
  const leads = Array.from({ length: LEADS }, (_, i) => ({
    chatId: BigInt(i + 1),
    status: LeadStatus.WAIT,
    statusTime: timestampFromMs(1_700_000_000_000),
  }));
  await campaign.putLeads({ accountId, campaignId: made!.id, leads });
  const { broadcastId } = await broadcast.createBroadcast({ accountId });
  const audience = { statuses: [LeadStatus.WAIT] };
  await broadcast.updateBroadcast({ accountId, broadcastId, audience, body: { text: "Hello" } });
  await broadcast.startBroadcast({ accountId, broadcastId });
  return { accountId, broadcastId };
}

async function whileNodesDie(cluster: TestNatsCluster, reached: (share: number) => Promise<void>): Promise<void> {
  for (let node = 0; node < cluster.size; node++) {
    await reached((node + 1) / (cluster.size + 2));
    await cluster.kill9(node);
    await reached((node + 1.5) / (cluster.size + 2));
    await cluster.restart(node);
  }
}

describe("a cluster of three nats-servers", () => {
  test("loses its nodes one after the other, and a broadcast reaches everybody once", async () => {
    const cluster = await createTestNatsCluster();
    const limitOf = () => 300;
    const nats = { url: cluster.url, replicas: 3 };
    const nc = await connect({ servers: cluster.url.split(",") });
    const jsm = await eventually(() => nc.jetstreamManager());
    // Three servers have to find each other before they take a stream. This one is of the time when there was one server.
    await eventually(async () => await ensureStream(jsm, { replicas: 1 }).then(() => true));
    const stack = await eventually(() => createStack({ nats, delivery: { limitOf, chatIntervalMs: 0 } }));
    try {
      expect((await jsm.streams.info(STREAM)).config.num_replicas).toBe(3);
      const { accountId, broadcastId } = await startBroadcast(stack);
      const read = async () => (await stack.platform.broadcast.getBroadcast({ accountId, broadcastId })).broadcast!;

      await whileNodesDie(cluster, async (share) => {
        await eventually(async () => Number((await read()).counters!.sent) >= share * LEADS, { timeoutMs: 60_000 });
      });
      await eventually(async () => (await read()).state === BroadcastState.DONE, { timeoutMs: 60_000 });

      const { counters } = await read();
      expect(counters).toMatchObject({ sent: BigInt(LEADS), failed: 0n, unconfirmed: 0n, queued: 0n });
      expect(await stack.sandbox.control.chatsOver(1)).toEqual([]);
      expect((await stack.sandbox.control.totals()).accepted).toBe(LEADS);
    } finally {
      await nc.close();
      await stack.stop();
      await cluster.stop();
    }
  }, 120_000);
});
