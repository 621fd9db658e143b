/**
 * Prune: rows that no promise needs any more are deleted, a bounded batch in each transaction, and never one that is
 * on the wire.
 */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { CounterDeltas } from "./counters.ts";
import { SendKind, SendState } from "./send.ts";
import { inTransaction } from "./transaction.ts";

/** Rows in one transaction. Those of an ended generation move no counter. */
const RETIRED_BATCH = 5_000;
const FOLLOW_UP_BATCH = 500;

const FOLLOW_UP_DAYS = 30;

/** Ends a generation: its rows are deleted from now on. */
export async function retireSource(tx: TransactionSql, sourceId: number): Promise<void> {
  await tx`INSERT INTO retired_source (source_id) VALUES (${sourceId}) ON CONFLICT DO NOTHING`;
}

/**
 * One batch of one ended generation. Rows on the wire are left until they are settled or rescued; the last batch takes the
 * counters and the note along.
 */
export async function pruneRetired(sql: Sql): Promise<boolean> {
  return await inTransaction(sql, async (tx) => {
    const [retired] = await tx<{ sourceId: number }[]>`
      SELECT source_id AS "sourceId" FROM retired_source ORDER BY retired_at LIMIT 1 FOR UPDATE SKIP LOCKED`;
    if (!retired) return false;
    const { sourceId } = retired;
    const deleted = await tx`
      DELETE FROM send WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM send WHERE source_id = ${sourceId} AND state <> ${SendState.sending} LIMIT ${RETIRED_BATCH}
        FOR UPDATE SKIP LOCKED))`;
    if (deleted.count > 0) return true;
    const [left] = await tx`SELECT 1 FROM send WHERE source_id = ${sourceId} LIMIT 1`;
    if (left) {
      // On the wire: another one's turn, and this one's again later.
      await tx`UPDATE retired_source SET retired_at = clock_timestamp() WHERE source_id = ${sourceId}`;
      return false;
    }
    await tx`DELETE FROM send_counter WHERE source_id = ${sourceId}`;
    await tx`DELETE FROM retired_source WHERE source_id = ${sourceId}`;
    return true;
  });
}

/** Counters go on to equal the rows: what is deleted is no longer counted as enqueued either. */
export async function pruneFollowUps(sql: Sql): Promise<boolean> {
  return await inTransaction(sql, async (tx) => {
    // Literals: a plan that is made for any kind and state cannot use the index of settled follow-ups.
    const kind = tx.unsafe(String(SendKind.followUp));
    const settled = tx.unsafe(String(SendState.sent));
    const rows = await tx<{ sourceId: number; botId: number; state: SendState }[]>`
      DELETE FROM send WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM send
        WHERE kind = ${kind} AND state >= ${settled} AND settled_at < now() - ${FOLLOW_UP_DAYS} * interval '1 day'
        ORDER BY settled_at LIMIT ${FOLLOW_UP_BATCH} FOR UPDATE SKIP LOCKED))
      RETURNING source_id AS "sourceId", bot_id AS "botId", state`;
    const deltas = new CounterDeltas();
    for (const row of rows) deltas.prune(row, row.state);
    await deltas.write(tx);
    return rows.length === FOLLOW_UP_BATCH;
  });
}
