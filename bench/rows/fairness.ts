/** One customer alone, and beside a neighbour who takes whatever it can get. */
import { createClient } from "@connectrpc/connect";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { deliveryHeap } from "#services/delivery/heap.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { type Child, startChild } from "../child.ts";
import type { Figure } from "../figure.ts";
import type { BenchDatabase, Ground } from "../ground.ts";
import { interleave } from "../measure.ts";
import { platformToken, secretBoxOf } from "../pipeline.ts";
import type { DeliveryChildOptions } from "../processes/delivery.ts";
import type { Manner, NeighbourOptions } from "../processes/neighbour.ts";
import type { Row, RowContext } from "../row.ts";
import { startService } from "../service.ts";
import { addBroadcast, countSettled, createWorld } from "../world.ts";

const BOTS = 2;
const MESSAGES_PER_SECOND = 30 * BOTS;
const CALLS_PER_SECOND = 20;
/** As many as an account may have. */
const NEIGHBOURS_BROADCASTS = 1_000;

const manners: Readonly<Record<Manner, string>> = {
  honest: "beside 40 honest calls a second",
  lists: "beside 8 loops of list with 1,000 broadcasts",
  hammer64: "beside 64 loops of quota",
  hammer256: "beside 256 loops of quota",
  bodies: "beside 8 loops of edit with 255 KiB",
  uploads: "beside 8 slow uploads",
  resets: "beside streams reset over 256 connections",
};

export const fairness: Row = {
  name: "fairness",
  limits: `\
The two cores, which the neighbour's own process shares: what it does costs as much to send as to refuse. A call of the neighbour's
that is taken has its turn beside two more of its own, so one of ours finds the gateway and the service with at most three others in
them, each of which has the event loop for a few milliseconds at the longest (a page of 250 broadcasts). What is refused is kept back
for a second, so that 256 loops make 250 refusals a second and not thousands. Delivery has no port that a customer reaches.`,
  run: async (context) => {
    const seconds = context.quick ? 0.5 : 6;
    const system = await startAll(context, seconds);
    try {
      const figures: Figure[] = [];
      for (const manner of (process.env.MANNERS?.split(",") ?? Object.keys(manners)) as Manner[]) {
        figures.push(...(await beside(context, system, manner, seconds)));
      }
      return figures;
    } finally {
      await system.stop();
    }
  },
};

interface System {
  url: string;
  session: string;
  sql: BenchDatabase["sql"];
  neighbour: Child;
  draftId: number;
  runningId: number;
  stop(): Promise<void>;
}

/** Every process as it is in production, but for the Bot API, which takes anything. */
async function startAll({ ground, rounds }: RowContext, seconds: number): Promise<System> {
  const [database, nats, botApi] = await Promise.all([
    ground.createDatabase(),
    ground.startNats(),
    startChild("bot-api"),
  ]);
  const shared = { DATABASE_URL: database.url, RPC_TOKENS: JSON.stringify(ground.rpcTokens) };
  const account = await startService("services/account/main.ts", { ...shared, ACCOUNT_PORT: "0" });
  const campaign = await startService("services/campaign/main.ts", {
    ...shared,
    SECRET_KEYS: ground.secretKeys,
    CAMPAIGN_PORT: "0",
  });
  const broadcast = await startService("services/broadcast/main.ts", {
    ...shared,
    NATS_URL: nats.url,
    BROADCAST_PORT: "0",
  });
  const delivery = await startChild(
    "delivery",
    {
      databaseUrl: database.url,
      natsUrl: nats.url,
      apiRoot: await botApi.ask<string>("url"),
      secretKeys: ground.secretKeys,
      unlimited: false,
    } satisfies DeliveryChildOptions,
    deliveryHeap,
  );
  const gateway = await startService("gateway/main.ts", {
    RPC_TOKENS: shared.RPC_TOKENS,
    GATEWAY_PORT: "0",
    ACCOUNT_URL: account.url,
    CAMPAIGN_URL: campaign.url,
    BROADCAST_URL: broadcast.url,
  });
  // Each manner's rounds, a round that is not counted, and what starting and stopping takes.
  const windows = Object.keys(manners).length * (rounds + 1) * 2;
  const leads = Math.ceil(MESSAGES_PER_SECOND * windows * (seconds + 2)) + 1_000;
  const ours = await createWorld(database.sql, { bots: BOTS, leads, secretBox: secretBoxOf(ground) });
  const ids = [];
  for (let n = 0; n < 20; n++) ids.push(await addBroadcast(database.sql, ours.accountId));
  const theirs = await createWorld(database.sql, { bots: 1, leads: 1 });
  const theirDraft = await addBroadcast(database.sql, theirs.accountId);
  await database.sql`
    INSERT INTO broadcast (account_id, name, source_id, text)
    SELECT ${theirs.accountId}, 'Broadcast number ' || n, nextval('source_id_seq'), 'a text'
    FROM generate_series(2, ${NEIGHBOURS_BROADCASTS}::int) AS n`;
  const [session, theirSession] = await Promise.all([
    openSession(ground, account.url, ours.accountId),
    openSession(ground, account.url, theirs.accountId),
  ]);
  const broadcasts = createClient(
    BroadcastService,
    createRpcTransport({ baseUrl: broadcast.url, token: platformToken(ground) }),
  );
  await broadcasts.startBroadcast({ accountId: BigInt(ours.accountId), broadcastId: BigInt(ids[0]!) });
  const neighbour = await startChild("neighbour", {
    gatewayUrl: gateway.url,
    rpcUrl: broadcast.url,
    session: theirSession,
    draftId: theirDraft,
  } satisfies NeighbourOptions);
  return {
    url: gateway.url,
    session,
    sql: database.sql,
    neighbour,
    runningId: ids[0]!,
    draftId: ids[1]!,
    stop: async () => {
      await neighbour.stop();
      for (const service of [gateway, delivery, broadcast, campaign, account, botApi]) await service.stop();
      await Promise.all([nats.stop(), database.drop()]);
    },
  };
}

async function openSession(ground: Ground, baseUrl: string, accountId: number): Promise<string> {
  const transport = createRpcTransport({ baseUrl, token: platformToken(ground) });
  return (await createClient(AccountService, transport).createSession({ accountId: BigInt(accountId) })).token;
}

async function beside(context: RowContext, system: System, manner: Manner, seconds: number): Promise<Figure[]> {
  const sent: Record<"alone" | "beside", number[]> = { alone: [], beside: [] };
  let theirs = 0;
  const numbers = await interleave(context.rounds, {
    product: async () => {
      await system.neighbour.ask("start", manner);
      // Everything of it is under way.
      await Bun.sleep(500);
      const window = await watch(system, seconds);
      theirs = await system.neighbour.ask<number>("stop");
      sent.beside.push(window.sentPerSecond);
      return window.p99Ms;
    },
    floor: async () => {
      const window = await watch(system, seconds);
      sent.alone.push(window.sentPerSecond);
      return window.p99Ms;
    },
  });
  context.say(
    `${manner}: ${numbers.product.map(Math.round)} ms, alone ${numbers.floor.map(Math.round)}; they made ${theirs} calls`,
  );
  const counted = (list: number[]) => list.slice(-context.rounds);
  return [
    {
      name: `p99 of a customer's calls ${manners[manner]}`,
      unit: "ms",
      product: numbers.product,
      floor: { name: "alone", numbers: numbers.floor },
      goal: { of: "ratio", is: "at most", limit: 3 },
      notes: `calls of the neighbour in the last round: ${theirs}`,
    },
    {
      name: `a customer's sending ${manners[manner]}`,
      unit: "messages/s",
      product: counted(sent.beside),
      floor: { name: "alone", numbers: counted(sent.alone) },
      goal: { of: "ratio", is: "at least", limit: 0.95 },
    },
  ];
}

interface Window {
  p99Ms: number;
  sentPerSecond: number;
}

/** Makes calls at a pace of its own, whether the last one is answered or not, and counts what is sent meanwhile. */
async function watch(system: System, seconds: number): Promise<Window> {
  const { sql, runningId } = system;
  const before = (await countSettled(sql, runningId)).sent;
  const startedMs = performance.now();
  const calls: Promise<number>[] = [];
  for (let n = 0; n < seconds * CALLS_PER_SECOND; n++) {
    const dueMs = startedMs + (n * 1000) / CALLS_PER_SECOND;
    await Bun.sleep(Math.max(0, dueMs - performance.now()));
    calls.push(callOnce(system, n).then(() => performance.now() - dueMs));
  }
  const latencies = (await Promise.all(calls)).sort((a, b) => a - b);
  const passedSeconds = (performance.now() - startedMs) / 1000;
  const sent = (await countSettled(sql, runningId)).sent - before;
  return { p99Ms: latencies[Math.floor(latencies.length * 0.99)]!, sentPerSecond: sent / passedSeconds };
}

async function callOnce({ url, session, runningId, draftId }: System, n: number): Promise<void> {
  const headers = { authorization: `Bearer ${session}` };
  const edit = { method: "POST", body: new URLSearchParams({ id: String(draftId), name: `n${n}`, text: "Hello" }) };
  const calls: [string, RequestInit][] = [
    ["quota.json", {}],
    [`progress.json?id=${runningId}`, {}],
    ["list.json", {}],
    ["edit.json", edit],
  ];
  const [path, init] = calls[n % calls.length]!;
  const reply = await fetch(`${url}/api/broadcast/${path}`, { ...init, headers });
  const text = await reply.text();
  // A machine that others keep busy may well refuse: that is a figure, too, and no reason to stop.
  if (!text.startsWith('{"status":"ok"')) process.stderr.write(`  ${path}: ${text.slice(0, 200)}\n`);
}
