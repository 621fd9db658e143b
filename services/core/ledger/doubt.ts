/**
 * Doubt: after a restore from a backup it cannot be known whether what is queued was sent, so it becomes
 * `unconfirmed`. When an operator accepts the restore; see services/delivery/restore.ts.
 */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { CounterDeltas } from "./counters.ts";
import { shutGate } from "./gate.ts";
import { SendKind, SendReason, SendState } from "./send.ts";
import { OPEN_STATES_SQL } from "./source.ts";

/** Makes what could go out of one source unconfirmed, with its gate shut. @returns how many sends. */
export async function doubtSource(tx: TransactionSql, sourceId: number): Promise<number> {
  await shutGate(tx, sourceId);
  const rows = await updateToDoubted(tx, sourceId);
  const deltas = new CounterDeltas();
  for (const { botId, was, n } of rows) deltas.move("doubt", { sourceId, botId }, was, SendState.unconfirmed, n);
  await deltas.write(tx);
  return rows.reduce((sum, row) => sum + row.n, 0);
}

/** Sources with sends that could go out now: open broadcasts, and blocks with due follow-ups. */
export async function selectDueSources(sql: Sql): Promise<number[]> {
  const rows = await sql<{ sourceId: number }[]>`
    SELECT source_id AS "sourceId" FROM broadcast WHERE state IN ${sql.unsafe(OPEN_STATES_SQL)}
    UNION SELECT source_id FROM block ORDER BY 1`;
  return rows.map((row) => row.sourceId);
}

/** queued or sending → unconfirmed; of follow-ups only what is due, of broadcasts only what belongs to the open run. */
async function updateToDoubted(
  tx: TransactionSql,
  sourceId: number,
): Promise<{ botId: number; was: SendState; n: number }[]> {
  return await tx<{ botId: number; was: SendState; n: number }[]>`
    WITH doubted AS (
      UPDATE send s SET state = ${SendState.unconfirmed}, reason = ${SendReason.restored}, settled_at = clock_timestamp(),
        claim_token = NULL
      WHERE s.source_id = ${sourceId} AND s.state IN (${SendState.queued}, ${SendState.sending})
        AND ((s.kind = ${SendKind.followUp} AND (s.due_at IS NULL OR s.due_at <= now()))
          OR EXISTS (SELECT FROM broadcast b WHERE b.source_id = s.source_id AND (b.run = s.run OR s.state = ${SendState.sending})))
      RETURNING s.bot_id, old.state AS was)
    SELECT bot_id AS "botId", was, count(*)::int AS n FROM doubted GROUP BY 1, 2`;
}
