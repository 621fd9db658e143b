/**
 * Transactions that write several rows, and the one order in which they take locks:
 *
 * ```
 *   a source's advisory lock → a campaign's advisory lock → shard leases → bots → broadcasts, blocks → quota days
 *   → sends → streaks of refusals → holds → counters → account → reachability → leads → the audit entry
 * ```
 *
 * Where two transactions can meet at several rows of one kind, they take them by key. A claim passes over sources and
 * blocks that are held, and a rescue over sends. Where a transaction leaves the order, something else keeps the two
 * apart:
 *
 * - Settle gives quota back after its sends. Its sends are on the wire or unconfirmed; a claim waits for queued ones.
 * - Settle takes back a streak's sends, which have failed. A Start takes such rows too, but both hold the broadcast.
 * - Imports hold their leads before they add sends and counters. The sends are new, and the counters are those of the
 *   life-cycle slot, which a settle never writes. They share the campaign's lock, and erasure holds it alone.
 * - A new broadcast is written after its account is held. Nobody else has seen that row.
 * - Erasure holds the lead before its reachability. A settle of the same lead may meet it there, in a deadlock that
 *   Postgres ends, and both are run again. Where a settle notes a refusal it shares the lead's row early; no holder of
 *   a lead waits for the counters that such a settle writes.
 */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";

/** Deadlock, serialization failure: Postgres has undone the transaction and it may simply be run again. */
const REPEATABLE = new Set(["40P01", "40001"]);

const ATTEMPTS = 5;

/**
 * A process that is frozen between two statements holds its locks for as long: leases that nobody can take over, an account's
 * day of quota, a broadcast's gate. Postgres breaks such a transaction off, a little before the process's leases lapse.
 */
const IDLE_TIMEOUT_MS = 3_000;

/**
 * For this transaction only, as behind a pooler the session is nobody's. The plans: one that is kept was made for the tables as
 * they were then and stays until somebody analyzes them, so one from before the first large Start would read the whole
 * ledger for each claim.
 */
const SETTINGS = [
  `SET LOCAL idle_in_transaction_session_timeout = ${IDLE_TIMEOUT_MS}`,
  "SET LOCAL plan_cache_mode = force_custom_plan",
].join("; ");

/**
 * Runs a transaction, again where Postgres itself broke it off to end a deadlock. The order of locks above makes that
 * rare: this is a safety net and not a way of working.
 */
export async function inTransaction<T>(sql: Sql, work: (tx: TransactionSql) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return (await sql.begin("ISOLATION LEVEL READ COMMITTED", (tx) => bounded(tx, work))) as T;
    } catch (error) {
      const code = (error as { code?: unknown }).code;
      if (attempt >= ATTEMPTS || typeof code !== "string" || !REPEATABLE.has(code)) throw error;
    }
  }
}

/** The settings are on their way together with the first statement. */
async function bounded<T>(tx: TransactionSql, work: (tx: TransactionSql) => Promise<T>): Promise<T> {
  const set = tx.unsafe(SETTINGS).execute();
  const [result] = await Promise.all([work(tx), set]);
  return result;
}
