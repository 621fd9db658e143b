/**
 * A prepared statement's plan is kept for as long as nobody analyzes its tables, and a plan that was made for a few rows
 * reads the whole table. So an installation that was small until its first large Start must not keep any.
 */
import { afterEach, expect, test } from "bun:test";
import { startBroadcast } from "#services/broadcast/life-cycle.ts";
import { selectBotsWithDue, selectBroadcastHeads, selectDueFollowUps } from "#services/broadcast/relay-store.ts";
import type { LeadInput } from "#services/campaign/lead.ts";
import { createOptOutMemory } from "#services/campaign/opt-out-memory.ts";
import { putLeads } from "#services/campaign/put-leads.ts";
import { createDatabase, type Database, type Sql } from "#services/core/database/client.ts";
import { inTransaction } from "#services/core/ledger/transaction.ts";
import { createSecretBox } from "#services/platform/secrets.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { claimedOf, createWorld, type World } from "#test/support/world.ts";

/** More often than Postgres plans a statement before it considers one plan for all parameters. */
const TIMES = 8;
const GROWN = 20_000;
const BOTS = 20;

let database: TestDatabase;
/** One connection: what is prepared on it is what the statements use. */
let single: Database;
afterEach(async () => {
  await single.close();
  await database.drop();
});

// With these two, Postgres would keep plans that read the ledger for the relay and for claims.
test.each([90, 400])(
  "statements prepared on a ledger of %d rows read no whole table once it is large",
  async (leads) => {
    database = await createTestDatabase();
    single = createDatabase({ url: database.url, maxConnections: 1 });
    const world = await createWorld(single.sql, { bots: BOTS, leads });
    const id = await world.addBroadcast();
    await startBroadcast(world.sql, world.accountId, id);
    await world.schedule(await world.addBlock(), world.leads.slice(0, 20));
    await database.sql`VACUUM ANALYZE`;
    const statements = await statementsOf(world, id);
    for (const run of Object.values(statements)) for (let i = 0; i < TIMES; i++) await run();

    await grow(database.sql, world);

    const read: Record<string, number> = {};
    for (const [name, run] of Object.entries(statements)) read[name] = await rowsReadInSequence(world.sql, run);
    for (const [name, rows] of Object.entries(read)) expect([name, rows < GROWN]).toEqual([name, true]);
  },
);

const nameless = { click: "", userName: "", subscriber: "", username: "" };
const newLead: LeadInput = { id: 0, chatId: 0, status: 0, statusTimeUs: 1, createTimeUs: null, ...nameless };

/** What runs again and again, each once. */
async function statementsOf(world: World, id: number) {
  const { sql } = world;
  const { sourceId } = await world.broadcast(id);
  const lanes = world.botIds.map((botId) => ({ botId, sourceId, run: 1, revision: 1, acceptedRevision: 0, limit: 30 }));
  const shards = Array.from({ length: 64 }, (_, shard) => shard);
  const jobs = await world.jobs(id);
  let next = 0;
  let chat = 1_000_000_000;
  const secretBox = createSecretBox([{ id: "k1", key: new Uint8Array(32) }]);
  const people = { sql, secretBox, memory: createOptOutMemory(new Uint8Array(32)) };
  return {
    heads: () => inTransaction(sql, (tx) => selectBroadcastHeads(tx, lanes, 0)),
    "due follow-ups": () => inTransaction(sql, (tx) => selectDueFollowUps(tx, lanes, 0)),
    "bots with due follow-ups": () => inTransaction(sql, (tx) => selectBotsWithDue(tx, shards, 0)),
    "claim and settle": async () => {
      const answers = await world.claim(jobs.slice(next, next + 10));
      next += 10;
      await world.settle(claimedOf(answers), { result: "sent", messageId: 1 });
    },
    "put leads": () => {
      const { accountId, campaignId } = world;
      const lead = { ...newLead, chatId: chat++ };
      return putLeads(people, { accountId, campaignId, leads: [lead], scheduleFollowUps: true });
    },
  };
}

/** As a Start for many leads does, of another account, before anybody analyzes. */
async function grow(sql: Sql, { campaignId, botId }: World): Promise<void> {
  await sql`
    WITH added AS (
      INSERT INTO lead (campaign_id, bot_id, chat_id, status, status_time, created_time)
      SELECT ${campaignId}::bigint, ${botId}::bigint, 2000000000 + i, 0, now(), now()
      FROM generate_series(1, ${GROWN}::int) AS i RETURNING id, bot_id
    )
    INSERT INTO send (source_id, lead_id, bot_id, run, kind) SELECT 1000000, id, bot_id, 1, 1 FROM added`;
}

async function rowsReadInSequence(sql: Sql, run: () => Promise<unknown>): Promise<number> {
  const read = async () => {
    await sql`SELECT pg_stat_force_next_flush()`;
    await sql`SELECT pg_stat_clear_snapshot()`;
    const [row] = await sql<{ read: number }[]>`
      SELECT sum(seq_tup_read)::bigint AS read FROM pg_stat_user_tables WHERE relname IN ('send', 'lead')`;
    return row!.read;
  };
  const before = await read();
  await run();
  return (await read()) - before;
}
