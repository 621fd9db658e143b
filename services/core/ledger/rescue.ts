/** Rescue: a claim whose owner is gone does not stay on the wire for ever. */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { killPoint } from "#services/platform/kill-points.ts";
import { CounterDeltas } from "./counters.ts";
import { SendReason, SendState } from "./send.ts";
import { inTransaction } from "./transaction.ts";

/**
 * Turns claims whose owner has been silent past their time into `unconfirmed`: what was on the wire when something died.
 * Any replica may do it for all; rows that another is settling right now are passed over.
 * @returns how many, at most `limit`.
 */
export async function rescueSends(sql: Sql, limit = 500): Promise<number> {
  const count = await inTransaction(sql, async (tx) => {
    const rescued = await updateToRescued(tx, limit);
    const deltas = new CounterDeltas();
    for (const row of rescued) deltas.move("rescue", row, SendState.sending, SendState.unconfirmed);
    await deltas.write(tx);
    if (rescued.length > 0) killPoint("rescue.before-commit");
    return rescued.length;
  });
  if (count > 0) killPoint("rescue.after-commit");
  return count;
}

/** sending → unconfirmed where the claim's owner has been silent past the send's timeout and the margin. */
export async function updateToRescued(
  tx: TransactionSql,
  limit: number,
): Promise<{ sourceId: number; botId: number }[]> {
  // A literal: a plan that is made for any state cannot use the index of those on the wire.
  const sending = tx.unsafe(String(SendState.sending));
  return await tx<{ sourceId: number; botId: number }[]>`
    WITH k AS (
      SELECT source_id, lead_id, entry FROM send
      WHERE state = ${sending} AND rescue_at < clock_timestamp()
      ORDER BY rescue_at LIMIT ${limit} FOR UPDATE SKIP LOCKED)
    UPDATE send s SET state = ${SendState.unconfirmed}, reason = ${SendReason.ownerGone}, settled_at = clock_timestamp()
    FROM k
    WHERE s.source_id = k.source_id AND s.lead_id = k.lead_id AND s.entry = k.entry AND s.state = ${SendState.sending}
    RETURNING s.source_id AS "sourceId", s.bot_id AS "botId"`;
}
