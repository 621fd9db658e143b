/**
 * A database that was restored from a backup has forgotten what was sent after the backup was made: its queued rows may
 * have been messaged already. So delivery remembers which database it worked with, by what a restore or a failover
 * changes: the cluster's identifier, its timeline and the database's oid. When these differ at a start, all sending is held
 * until an operator accepts the restore: what is queued then becomes unconfirmed, and its owners retry it knowingly.
 *
 * A restore into the same database of the same cluster is not seen by this: call HoldAll before and AcceptRestore after it.
 */
import type { Sql, TransactionSql } from "#services/database/client.ts";
import { CounterDeltas } from "#services/ledger/counters.ts";
import { shutGate } from "#services/ledger/gate.ts";
import { ALL_BOTS, SendState } from "#services/ledger/send.ts";
import { inTransaction } from "#services/ledger/transaction.ts";
import * as store from "./store.ts";

const RESTORED_MESSAGE =
  "This database is not the one that delivery has worked with: restored from a backup, or failed over. Call AcceptRestore.";

/**
 * Compares the database with the one remembered, remembering the first one ever seen.
 * @returns true if all sending is held because it is another one.
 */
export async function holdIfRestored(sql: Sql): Promise<boolean> {
  const identity = await store.selectIdentity(sql);
  const remembered = await store.rememberIdentity(sql, identity);
  if (remembered === identity) return false;
  await store.upsertOperatorHold(sql, ALL_BOTS, RESTORED_MESSAGE);
  return true;
}

/** Marks what is queued or on the wire as unconfirmed, source by source, and lifts the hold. Returns how many sends. */
export async function acceptRestore(sql: Sql): Promise<number> {
  let unconfirmed = 0;
  for (const sourceId of await store.selectDueSources(sql)) {
    unconfirmed += await inTransaction(sql, (tx) => doubtSource(tx, sourceId));
  }
  await store.replaceIdentity(sql, await store.selectIdentity(sql));
  await store.deleteAnyHold(sql, ALL_BOTS);
  return unconfirmed;
}

async function doubtSource(tx: TransactionSql, sourceId: number): Promise<number> {
  await shutGate(tx, sourceId);
  const rows = await store.updateToDoubted(tx, sourceId);
  const deltas = new CounterDeltas();
  for (const { botId, was, n } of rows) deltas.move(sourceId, botId, was, SendState.unconfirmed, n);
  await deltas.write(tx);
  return rows.reduce((sum, row) => sum + row.n, 0);
}
