/**
 * A database that was restored from a backup, or a replica that was promoted, has forgotten what was sent after it was
 * copied: its queued rows may have been messaged already. So delivery remembers which database it worked with, by what a
 * restore or a failover changes: the cluster's identifier, its timeline and the database's oid.
 *
 * ```
 *   same ── another database answers ──► held: nothing is claimed ── AcceptRestore ──► same
 * ```
 *
 * - Looked at when delivery starts and every second; in between each claim compares the timeline, so that not one send is
 *   claimed from a promoted replica before the hold stands.
 * - The hold is one of all bots. Release does not end it for longer than a second: only AcceptRestore does, which makes what
 *   is queued unconfirmed, so that its owners retry it knowingly, or leaves it where the operator knows that nothing was lost.
 *
 * A restore into the same database of the same cluster is not seen by this: call HoldAll before and AcceptRestore after it.
 */
import { noteChange } from "#services/core/audit/record.ts";
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { doubtSource, selectDueSources } from "#services/core/ledger/doubt.ts";
import { ALL_BOTS } from "#services/core/ledger/send.ts";
import { inTransaction } from "#services/core/ledger/transaction.ts";
import * as store from "./store.ts";

const RESTORED_MESSAGE =
  "This database is not the one that delivery has worked with: restored from a backup, or failed over. Call AcceptRestore.";

export class RestoreGuard {
  readonly #sql: Sql;
  #timeline: number | undefined;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  /** The timeline of the database that is known to be the right one; undefined before the first check found it so. */
  get timeline(): number | undefined {
    return this.#timeline;
  }

  /**
   * Compares the database with the one remembered, remembering the first one ever seen.
   * @returns true if all sending is held because it is another one.
   */
  async check(): Promise<boolean> {
    const { identity, timeline } = await store.selectIdentity(this.#sql);
    const remembered = await store.rememberIdentity(this.#sql, identity);
    if (remembered === identity) this.#timeline = timeline;
    else await store.holdOtherIdentity(this.#sql, identity, RESTORED_MESSAGE);
    return remembered !== identity;
  }
}

/**
 * Marks what is queued or on the wire as unconfirmed, source by source, and lifts the hold.
 * @param nothingLost leaves what is queued: the operator knows that no committed transaction is missing.
 * @returns how many sends are unconfirmed now.
 */
export async function acceptRestore(sql: Sql, { nothingLost = false } = {}): Promise<number> {
  noteChange({ object: { kind: "bot", id: String(ALL_BOTS) } });
  let unconfirmed = 0;
  for (const sourceId of nothingLost ? [] : await selectDueSources(sql)) {
    unconfirmed += await inTransaction(sql, (tx) => doubt(tx, sourceId));
  }
  const { identity } = await store.selectIdentity(sql);
  await inTransaction(sql, (tx) => store.acceptIdentity(tx, identity));
  return unconfirmed;
}

async function doubt(tx: TransactionSql, sourceId: number): Promise<number> {
  const changes = await doubtSource(tx, sourceId);
  noteChange({ changes });
  return changes;
}
