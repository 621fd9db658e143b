/** Deletes the rows of ended generations, a bounded batch at a time, beside the sending and never in its way. */
import type { Sql } from "#services/database/client.ts";
import { SendState } from "#services/ledger/send.ts";

/** Rows in one short transaction. */
const BATCH = 5_000;

/**
 * Deletes one batch of one ended generation. Rows on the wire are left until they are settled or rescued; the last batch
 * takes the counters and the note along. Safe from several processes: each takes another generation.
 * @returns whether there may be more to do now.
 */
export async function cleanRetiredSources(sql: Sql): Promise<boolean> {
  return (await sql.begin(async (tx) => {
    const [retired] = await tx<{ sourceId: number }[]>`
      SELECT source_id AS "sourceId" FROM retired_source ORDER BY retired_at LIMIT 1 FOR UPDATE SKIP LOCKED`;
    if (!retired) return false;
    const { sourceId } = retired;
    const deleted = await tx`
      DELETE FROM send WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM send WHERE source_id = ${sourceId} AND state <> ${SendState.sending} LIMIT ${BATCH}
        FOR UPDATE SKIP LOCKED))`;
    if (deleted.count > 0) return true;
    const [left] = await tx`SELECT 1 FROM send WHERE source_id = ${sourceId} LIMIT 1`;
    if (left) {
      // On the wire: the next one's turn, and this one's again later.
      await tx`UPDATE retired_source SET retired_at = clock_timestamp() WHERE source_id = ${sourceId}`;
      return false;
    }
    await tx`DELETE FROM send_counter WHERE source_id = ${sourceId}`;
    await tx`DELETE FROM retired_source WHERE source_id = ${sourceId}`;
    return true;
  })) as boolean;
}
