/** Reads over REST, through gateway and RPC, beside one process that runs the same SQL. */
import { createClient } from "@connectrpc/connect";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { startChild } from "../child.ts";
import type { Figure } from "../figure.ts";
import type { BenchDatabase, BenchNats, Ground } from "../ground.ts";
import { inFlight, interleave } from "../measure.ts";
import { platformToken } from "../pipeline.ts";
import type { Row } from "../row.ts";
import { type Service, startService } from "../service.ts";
import { watchCpu } from "../usage.ts";
import { addBroadcast, createWorld } from "../world.ts";

const IN_FLIGHT = 32;
const BROADCASTS = 20;

export const rest: Row = {
  name: "rest",
  limits: `\
Processor time in three processes instead of one: the gateway makes two calls for each request, one that resolves the session and
one that does the work. The statements are the same four on both sides; what is added is twice an RPC, on its client's side and on
its server's, and its line in the log. An RPC costs its server some 110 µs, of which log and metrics are 30. All 32 are of one session here, and requests that come
at once share its lookup; with a session each, account would be asked for each.`,
  run: async ({ ground, quick, rounds, say }) => {
    const requests = quick ? 100 : 6_000;
    const [database, nats] = await Promise.all([ground.createDatabase(), ground.startNats()]);
    const ours = await startSystem(ground, database, nats);
    const floor = await startChild("rest-floor", { databaseUrl: database.url });
    try {
      const { session, broadcastId } = await prepare(ground, database, ours.account);
      const paths = {
        get: `/api/broadcast/get.json?id=${broadcastId}`,
        list: "/api/broadcast/list.json",
        quota: "/api/broadcast/quota.json",
      };
      const floorUrl = await floor.ask<string>("url");
      const figures: Figure[] = [];
      for (const [name, path] of Object.entries(paths)) {
        await requireSameReply(`${ours.gateway.url}${path}`, `${floorUrl}${path}`, session);
        const postgres = { name: "Postgres", pid: ground.postgresPid, tree: true };
        const notes = { ours: "", floor: "" };
        const numbers = await interleave(rounds, {
          product: async () => {
            const cpu = watchCpu([...ours.watched, postgres]);
            const rate = await requestRate(`${ours.gateway.url}${path}`, session, requests);
            notes.ours = perRequest(cpu(), requests);
            say(`${name}: ${Math.round(rate)}/s`);
            return rate;
          },
          floor: async () => {
            const cpu = watchCpu([{ name: "Elysia", pid: floor.pid }, postgres]);
            const rate = await requestRate(`${floorUrl}${path}`, session, requests);
            notes.floor = perRequest(cpu(), requests);
            return rate;
          },
        });
        figures.push({
          name: `REST ${name}, ${IN_FLIGHT} in flight`,
          unit: "requests/s",
          product: numbers.product,
          floor: { name: "Elysia + postgres.js", numbers: numbers.floor },
          goal: { of: "ratio", is: "at least", limit: 0.5 },
          notes: `µs of processor time a request: ${notes.ours}; of the floor: ${notes.floor}`,
        });
      }
      return figures;
    } finally {
      await floor.stop();
      for (const service of [ours.gateway, ours.broadcast, ours.account]) await service.stop();
      await Promise.all([nats.stop(), database.drop()]);
    }
  },
};

export function perRequest(used: ReadonlyMap<string, number>, requests: number): string {
  return [...used].map(([name, seconds]) => `${name} ${((seconds / requests) * 1e6).toFixed(0)}`).join(", ");
}

/** The processes of a read; `env` is added to what those with a database get. */
export async function startSystem(
  ground: Ground,
  database: BenchDatabase,
  nats: BenchNats,
  env: Record<string, string> = {},
) {
  const RPC_TOKENS = JSON.stringify(ground.rpcTokens);
  const shared = { DATABASE_URL: database.url, RPC_TOKENS, ...env };
  const account = await startService("services/account/main.ts", { ...shared, ACCOUNT_PORT: "0" });
  const broadcast = await startService("services/broadcast/main.ts", {
    ...shared,
    NATS_URL: nats.url,
    BROADCAST_PORT: "0",
  });
  const gateway = await startService("gateway/main.ts", {
    RPC_TOKENS,
    // One session makes what thousands do.
    SESSION_CALLS_PER_SECOND: "1000000",
    ACCOUNT_CALLS_PER_SECOND: "1000000",
    GATEWAY_PORT: "0",
    ACCOUNT_URL: account.url,
    BROADCAST_URL: broadcast.url,
  });
  const services: Record<string, Service> = { gateway, account, broadcast };
  const watched = Object.entries(services).map(([name, { pid }]) => ({ name, pid }));
  return { account, broadcast, gateway, watched };
}

/** One running broadcast with a thousand leads among drafts, and a session. */
export async function prepare(ground: Ground, { sql }: BenchDatabase, account: Service) {
  const world = await createWorld(sql, { bots: 2, leads: 1_000 });
  for (let i = 0; i < BROADCASTS; i++) await addBroadcast(sql, world.accountId);
  const broadcastId = await addBroadcast(sql, world.accountId);
  // Held by nobody's delivery: it runs for as long as the row is measured.
  await sql`UPDATE broadcast SET state = 1, run = 1, total = 1000, started_at = now() WHERE id = ${broadcastId}`;
  await sql`INSERT INTO send (source_id, lead_id, bot_id, run, kind)
    SELECT b.source_id, l.id, l.bot_id, 1, 1 FROM lead l, broadcast b WHERE b.id = ${broadcastId}`;
  await sql`INSERT INTO send_counter (source_id, slot, enqueued)
    SELECT source_id, -1, 1000 FROM broadcast WHERE id = ${broadcastId}`;
  const transport = createRpcTransport({ baseUrl: account.url, token: platformToken(ground) });
  const { token } = await createClient(AccountService, transport).createSession({ accountId: BigInt(world.accountId) });
  return { session: token, broadcastId };
}

export async function requestRate(url: string, session: string, requests: number): Promise<number> {
  const headers = { Authorization: `Bearer ${session}` };
  const startedMs = performance.now();
  await inFlight(requests, IN_FLIGHT, async () => {
    const reply = await fetch(url, { headers });
    if (!(await reply.text()).startsWith('{"status":"ok"')) throw new Error(`${url}: the reply is an error.`);
  });
  return (requests / (performance.now() - startedMs)) * 1000;
}

/** A floor that said less would be no floor. */
async function requireSameReply(ours: string, floor: string, session: string): Promise<void> {
  const headers = { Authorization: `Bearer ${session}` };
  const [left, right] = await Promise.all(
    [ours, floor].map(async (url) => await (await fetch(url, { headers })).json()),
  );
  if (!Bun.deepEquals(left, right)) {
    throw new Error(`Replies differ: ${JSON.stringify(left)} and ${JSON.stringify(right)}`);
  }
}
