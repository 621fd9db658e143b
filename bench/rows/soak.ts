/**
 * Every process under steady work for as long as `--minutes` says: broadcasts one after the other with the pace lifted, leads
 * that change their status and so schedule follow-ups, reads over REST. Does any of them grow?
 */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Client, createClient } from "@connectrpc/connect";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import type { Figure } from "../figure.ts";
import type { Ground } from "../ground.ts";
import { median, until } from "../measure.ts";
import { liftedPerSecond, type Pipeline, platformToken, secretBoxOf, startPipeline } from "../pipeline.ts";
import type { Row } from "../row.ts";
import { type Service, startService } from "../service.ts";
import { residentBytes, type Watched } from "../usage.ts";
import { addBroadcast, countSettled, createWorld, type World } from "../world.ts";

const BOTS = 20;
const SAMPLE_MS = 1_000;
const READS_PER_SAMPLE = 20;
const CHANGES_PER_SAMPLE = 200;
/** Memory that a garbage collector may hold one time and not the other. */
const NOISE_PERCENT = 10;

export const soak: Row = {
  name: "soak",
  onlyByName: true,
  limits: `\
Growth compares the median of the last tenth of the samples with that of the second tenth: by then everything is compiled and the
caches are full.`,
  run: async ({ ground, quick, minutes, say }) => {
    const leads = quick ? 200 : 50_000;
    const pipeline = await startPipeline({ ground, lifted: true, bots: BOTS });
    const services = await startServices(ground, pipeline);
    try {
      const world = await createWorld(pipeline.sql, {
        bots: BOTS,
        leads,
        messagesPerSecond: liftedPerSecond(BOTS),
        secretBox: secretBoxOf(ground),
      });
      await turnBlockOn(pipeline, world);
      const stop = new AbortController();
      const samples: Map<string, number>[] = [];
      const work = Promise.all([
        sendAgainAndAgain(pipeline, world, stop.signal),
        readAndChange(ground, services, world, stop.signal),
      ]);
      const endMs = performance.now() + (quick ? 2_000 : minutes * 60_000);
      while (performance.now() < endMs) {
        await Promise.race([Bun.sleep(quick ? 100 : SAMPLE_MS), work]);
        samples.push(new Map(services.watched.map(({ name, pid }) => [name, residentBytes(pid)])));
        if (samples.length % 60 === 0) say(`${samples.length} s: ${megabytes(samples.at(-1)!)}`);
      }
      stop.abort();
      const [sent] = await work;
      say(`${sent} messages sent`);
      return services.watched.map(({ name }) => growthOf(name, samples));
    } finally {
      for (const service of [services.gateway, services.campaign, services.account]) await service.stop();
      await pipeline.stop();
    }
  },
};

interface Services {
  account: Service;
  campaign: Service;
  gateway: Service;
  watched: Watched[];
}

async function startServices(ground: Ground, pipeline: Pipeline): Promise<Services> {
  const RPC_TOKENS = JSON.stringify(ground.rpcTokens);
  const shared = { DATABASE_URL: pipeline.database.url, RPC_TOKENS, SECRET_KEYS: ground.secretKeys };
  const account = await startService("services/account/main.ts", { ...shared, ACCOUNT_PORT: "0" });
  const campaign = await startService("services/campaign/main.ts", { ...shared, CAMPAIGN_PORT: "0" });
  const gateway = await startService("gateway/main.ts", {
    RPC_TOKENS,
    GATEWAY_PORT: "0",
    ACCOUNT_URL: account.url,
    CAMPAIGN_URL: campaign.url,
    BROADCAST_URL: await pipeline.broadcastChild.ask<string>("url"),
  });
  const ours = pipeline.watched.filter(({ name }) => name !== "Postgres" && name !== "Bot API");
  const started = { account, campaign, gateway };
  const watched = [...ours, ...Object.entries(started).map(([name, { pid }]) => ({ name, pid }))];
  return { ...started, watched };
}

/** So that every change of a lead's status to approve schedules a follow-up that is due at once. */
async function turnBlockOn({ sql }: Pipeline, { campaignIds }: World): Promise<void> {
  await sql`
    INSERT INTO block (campaign_id, status, source_id, "on", text, parsed)
    VALUES (${campaignIds[0]!}, 2, nextval('source_id_seq'), true, 'Hi', '{"text":"Hi","entities":[]}')`;
}

/** @returns how many messages. */
async function sendAgainAndAgain(pipeline: Pipeline, { accountId }: World, signal: AbortSignal): Promise<number> {
  const { sql, broadcast } = pipeline;
  const ids = { accountId: BigInt(accountId), broadcastId: BigInt(await addBroadcast(sql, accountId)) };
  let sent = 0;
  while (!signal.aborted) {
    const { queued } = await broadcast.startBroadcast(ids);
    const settled = async () => (await countSettled(sql, Number(ids.broadcastId))).settled;
    await until("all sent", async () => BigInt(await settled()) === queued, { pollMs: 50 });
    const state = async () => (await sql`SELECT state FROM broadcast WHERE id = ${Number(ids.broadcastId)}`)[0]!.state;
    await until("done", async () => (await state()) === 2, { pollMs: 50 });
    await broadcast.resetBroadcast(ids);
    sent += Number(queued);
  }
  return sent;
}

async function readAndChange(ground: Ground, services: Services, world: World, signal: AbortSignal): Promise<void> {
  const token = platformToken(ground);
  const account = createClient(AccountService, createRpcTransport({ baseUrl: services.account.url, token }));
  const campaign = createClient(CampaignService, createRpcTransport({ baseUrl: services.campaign.url, token }));
  const session = await account.createSession({ accountId: BigInt(world.accountId) });
  while (!signal.aborted) {
    for (let i = 0; i < READS_PER_SAMPLE; i++) {
      const path = i % 2 === 0 ? "broadcast/list.json" : "broadcast/quota.json";
      const headers = { Authorization: `Bearer ${session.token}` };
      const reply = await (await fetch(`${services.gateway.url}/api/${path}`, { headers })).text();
      if (!reply.startsWith('{"status":"ok"')) throw new Error(reply);
    }
    await changeLeads(campaign, world);
    await Bun.sleep(SAMPLE_MS / 2);
  }
}

/** The same leads again and again, in a chat range of their own. */
async function changeLeads(campaign: Client<typeof CampaignService>, world: World): Promise<void> {
  const statusTime = timestampFromMs(Date.now());
  const leads = Array.from({ length: CHANGES_PER_SAMPLE }, (_, i) => ({
    chatId: BigInt(i + 1),
    status: LeadStatus.APPROVE,
    statusTime,
  }));
  await campaign.putLeads({
    accountId: BigInt(world.accountId),
    campaignId: BigInt(world.campaignIds[0]!),
    leads,
  });
}

function growthOf(name: string, samples: readonly Map<string, number>[]): Figure {
  const numbers = samples.map((sample) => sample.get(name)!);
  const tenth = Math.max(1, Math.floor(numbers.length / 10));
  const early = median(numbers.slice(tenth, 2 * tenth).concat(numbers.length < 2 ? numbers : []));
  const late = median(numbers.slice(-tenth));
  return {
    name: `growth of ${name} in ${samples.length} samples`,
    unit: "%",
    product: [(late / early - 1) * 100],
    goal: { of: "value", is: "at most", limit: NOISE_PERCENT },
    notes: `${(early / 1e6).toFixed(0)} MB, at the end ${(late / 1e6).toFixed(0)} MB`,
  };
}

function megabytes(sample: ReadonlyMap<string, number>): string {
  return [...sample].map(([name, bytes]) => `${name} ${(bytes / 1e6).toFixed(0)} MB`).join(", ");
}
