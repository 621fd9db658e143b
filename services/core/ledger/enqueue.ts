/**
 * Enqueue: a Start puts an audience into the queue of a run, and what waits for another body goes on after a Resume.
 */
import type { Fragment, Queryable, Sql, TransactionSql } from "#services/core/database/client.ts";
import { CounterDeltas, type Enqueued, readCounters } from "./counters.ts";
import { SendKind, SendState } from "./send.ts";

/** Who is to be messaged, as FROM and WHERE over `lead l`. */
export type AudienceSql = (sql: Queryable) => Fragment;

/**
 * Takes every lead of the audience that was not reached yet into this run, whose gate the caller has shut.
 * @param ledger.limit where a first run stops; a top-up is bounded by what was there before.
 * @returns how many, and whether it is the first run of the generation; with 0 nothing has changed.
 */
export async function enqueueAudience(
  tx: TransactionSql,
  audience: AudienceSql,
  ledger: { sourceId: number; run: number; limit: number },
): Promise<{ enqueued: number; first: boolean }> {
  const { sourceId } = ledger;
  const first = (await readCounters(tx, [sourceId])).get(sourceId)!.enqueued === 0;
  const taken = first
    ? { enqueued: await insertFirstRun(tx, audience, ledger), failed: 0, dropped: 0 }
    : await insertTopUp(tx, audience, ledger);
  const deltas = new CounterDeltas();
  deltas.enqueue(sourceId, taken);
  await deltas.write(tx);
  return { enqueued: taken.enqueued, first };
}

/**
 * Compares the audience with the ledger by hash or merge, never row by row: right after a Start Postgres has no statistics
 * of the new rows, takes them for one, and would look at all of them again for each lead. Until the transaction ends, or
 * `allowNestedLoops`.
 */
async function forbidNestedLoops(tx: TransactionSql): Promise<void> {
  await tx`SELECT set_config('enable_nestloop', 'off', true)`;
}

async function allowNestedLoops(tx: TransactionSql): Promise<void> {
  await tx`SELECT set_config('enable_nestloop', 'on', true)`;
}

/** Leads of the audience that a Start would take: without a row, or in a row that a top-up takes back, or parked. */
export async function countRemaining(sql: Sql, sourceId: number, audience: AudienceSql): Promise<number> {
  return (await sql.begin(async (tx) => {
    await forbidNestedLoops(tx);
    const [row] = await tx<{ n: number }[]>`
      SELECT count(*) AS n FROM (SELECT l.id ${audience(tx)}) AS a
      WHERE NOT EXISTS (SELECT FROM send s WHERE s.source_id = ${sourceId} AND s.lead_id = a.id AND s.entry = 0
        AND s.state IN (${SendState.sending}, ${SendState.sent}, ${SendState.unconfirmed}))`;
    return row!.n;
  })) as number;
}

/** The first Start of a generation: every lead of the audience, `limit` at most. Returns how many. */
export async function insertFirstRun(
  tx: TransactionSql,
  audience: AudienceSql,
  ledger: { sourceId: number; run: number; limit: number },
): Promise<number> {
  const result = await tx`
    INSERT INTO send (source_id, lead_id, bot_id, run, kind)
    SELECT ${ledger.sourceId}::bigint, l.id, l.bot_id, ${ledger.run}::int, ${SendKind.broadcast}::smallint
    ${audience(tx)} LIMIT ${ledger.limit}`;
  return result.count;
}

/**
 * A later Start: the audience's leads that have no row yet, and those that failed or were dropped, which includes queued
 * ones of a closed run. Looking first and then inserting keeps the conflict, which locks and writes, to the few that are
 * taken; the conflict's own condition is the one that decides. Sorted, so that a settle under way is no deadlock.
 */
export async function insertTopUp(
  tx: TransactionSql,
  audience: AudienceSql,
  ledger: { sourceId: number; run: number },
): Promise<Enqueued> {
  await forbidNestedLoops(tx);
  const [row] = await tx<Enqueued[]>`
    WITH taken AS (
      INSERT INTO send AS s (source_id, lead_id, bot_id, run, kind)
      SELECT ${ledger.sourceId}::bigint, a.id, a.bot_id, ${ledger.run}::int, ${SendKind.broadcast}::smallint
      FROM (SELECT l.id, l.bot_id ${audience(tx)}) AS a
      WHERE NOT EXISTS (SELECT FROM send p WHERE p.source_id = ${ledger.sourceId} AND p.lead_id = a.id AND p.entry = 0
        AND p.state IN (${SendState.sending}, ${SendState.sent}, ${SendState.unconfirmed}))
      ORDER BY a.id
      ON CONFLICT (source_id, lead_id, entry) DO UPDATE SET state = ${SendState.queued}, run = excluded.run, reason = 0,
        claim_token = NULL, due_at = NULL, rescue_at = NULL, settled_at = NULL, message_id = NULL, quota_day = NULL,
        fault_revision = 0
      WHERE s.state IN (${SendState.queued}, ${SendState.failed}, ${SendState.dropped})
      RETURNING old.state AS was)
    SELECT count(*) AS enqueued, count(*) FILTER (WHERE was = ${SendState.failed}) AS failed,
      count(*) FILTER (WHERE was IN (${SendState.queued}, ${SendState.dropped})) AS dropped
    FROM taken`;
  await allowNestedLoops(tx);
  return row!;
}

/** Lets leads that met a fault of the body be tried again: the owner resumed without an edit. */
export async function forgetFaults(tx: TransactionSql, sourceId: number): Promise<void> {
  await tx`
    UPDATE send SET fault_revision = 0
    WHERE source_id = ${sourceId} AND state = ${SendState.queued} AND kind = ${SendKind.broadcast} AND fault_revision > 0`;
}

/** Whether a send of the open run is on the wire, or waits and has not met a fault of this revision of the body. */
export async function hasUntriedSends(
  tx: TransactionSql,
  { sourceId, run, revision }: { sourceId: number; run: number; revision: number },
): Promise<boolean> {
  const [row] = await tx<{ untried: boolean }[]>`
    SELECT (SELECT coalesce(sum(sending), 0) FROM send_counter WHERE source_id = ${sourceId}) > 0
      OR EXISTS (SELECT FROM send WHERE source_id = ${sourceId} AND state = ${SendState.queued}
        AND kind = ${SendKind.broadcast} AND run = ${run} AND fault_revision <> ${revision}) AS untried`;
  return row!.untried;
}
