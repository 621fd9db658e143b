/** Hot statements must find what they need by the index that was made for it, even by a plan that knows no parameters. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { startBroadcast } from "#services/broadcast/life-cycle.ts";
import { selectBotsWithDue, selectBroadcastHeads, selectDueFollowUps } from "#services/broadcast/relay-store.ts";
import { countAudience } from "#services/broadcast/store.ts";
import type { TransactionSql } from "#services/core/database/client.ts";
import { updateToRescued } from "#services/core/ledger/rescue.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { createWorld, type World } from "#test/support/world.ts";

let database: TestDatabase;
let world: World;
let broadcastId: number;

/** 50,000 leads of five campaigns, all queued in one broadcast but 20 on the wire, and a block with 10,000 follow-ups. */
beforeAll(async () => {
  database = await createTestDatabase();
  world = await createWorld(database.sql, { bots: 2, campaigns: 5, leads: 50_000 });
  await world.sql`UPDATE lead SET status = id % 5, status_time = now() - (id % 100) * interval '1 day'`;
  broadcastId = await world.addBroadcast();
  await startBroadcast(world.sql, world.accountId, broadcastId);
  await world.claimQueued(broadcastId, 20);
  await world.schedule(await world.addBlock(), world.leads.slice(0, 10_000), 60_000);
  await world.sql`VACUUM ANALYZE`;
});
afterAll(() => database.drop());

interface PlanNode {
  "Node Type": string;
  "Relation Name"?: string;
  "Index Name"?: string;
  Plans?: PlanNode[];
}

/**
 * How Postgres reads each table in the statement that `run` makes, which has `text` in it, by the plan that is made for any
 * parameters. Those of the ledger are planned for theirs each time (see inTransaction), which can only be better.
 */
async function scansOf(text: string, run: (tx: TransactionSql) => Promise<unknown>): Promise<string[]> {
  return await world.sql.begin(async (tx) => {
    await tx`SET LOCAL plan_cache_mode = force_generic_plan`;
    await run(tx);
    const [statement] = await tx<{ name: string; parameters: number }[]>`
      SELECT name, cardinality(parameter_types) AS parameters FROM pg_prepared_statements
      WHERE strpos(statement, ${text}) > 0 AND strpos(statement, 'pg_prepared_statements') = 0`;
    const nulls = Array(statement!.parameters).fill("NULL").join(", ");
    const [row] = await tx.unsafe<{ "QUERY PLAN": [{ Plan: PlanNode }] }[]>(
      `EXPLAIN (FORMAT JSON) EXECUTE "${statement!.name}" (${nulls})`,
    );
    return scansIn(row!["QUERY PLAN"][0].Plan);
  });
}

function scansIn(node: PlanNode): string[] {
  const below = (node.Plans ?? []).flatMap(scansIn);
  const index = node["Index Name"];
  if (index) return [index, ...below];
  return node["Node Type"] === "Seq Scan" ? [`all of ${node["Relation Name"]}`, ...below] : below;
}

const anyTime = { createdFrom: null, createdTo: null, statusFrom: null, statusTo: null };

describe("the plan", () => {
  test("of an audience's count reads lead_audience and not the table", async () => {
    const audience = { statuses: 8, campaignIds: world.campaignIds.slice(0, 1), ...anyTime, statusFrom: new Date(0) };
    const scans = await scansOf("count(*)", (tx) => countAudience(tx, world.accountId, audience));
    expect(scans).toContain("lead_audience");
    expect(scans).not.toContain("all of lead");
  });

  test("of the relay's heads reads send_queued", async () => {
    const { sourceId } = await world.broadcast(broadcastId);
    const lane = { sourceId, botId: world.botId, run: 1, revision: 1, acceptedRevision: 0, limit: 300 };
    const scans = await scansOf("AS leads", (tx) => selectBroadcastHeads(tx, [lane], 0));
    expect(scans).toEqual(["send_queued"]);
  });

  test("of due follow-ups reads send_due", async () => {
    const scans = await scansOf("f.source_id AS", (tx) =>
      selectDueFollowUps(tx, [{ botId: world.botId, limit: 300 }], 0),
    );
    expect(scans).toEqual(["send_due"]);
  });

  test("of the bots with due follow-ups reads send_due", async () => {
    const scans = await scansOf("OFFSET 0", (tx) => selectBotsWithDue(tx, [0, 1, 2], 0));
    expect(new Set(scans)).toEqual(new Set(["send_due", "all of bot"]));
  });

  test("of rescue finds by send_sending, and writes by the key", async () => {
    const scans = await scansOf("rescue_at <", (tx) => updateToRescued(tx, 500));
    expect(scans.sort()).toEqual(["send_sending", "send_source_id_lead_id_entry_pk"]);
  });
});
