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
 * Runs a transaction, again where Postgres itself broke it off to end a deadlock. Locks are taken in one order
 * everywhere, so this is a safety net and not a way of working.
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
