/**
 * Drop: a Cancel drops a million leads at once, because it touches none of their rows. A queued row of a closed run
 * counts as dropped; a top-up takes it back. What a claim drops, row by row, is in claim.ts.
 */
import type { TransactionSql } from "#services/core/database/client.ts";
import { CounterDeltas, readCounters } from "./counters.ts";

/** Counts what is queued as dropped. The caller has shut the gate and closes the run in this transaction. */
export async function dropQueued(tx: TransactionSql, sourceId: number): Promise<void> {
  const { queued } = (await readCounters(tx, [sourceId])).get(sourceId)!;
  const deltas = new CounterDeltas();
  deltas.drop(sourceId, queued);
  await deltas.write(tx);
}
