import type { Sql, TransactionSql } from "#services/database/client.ts";

/** Deadlock, serialization failure: Postgres has undone the transaction and it may simply be run again. */
const REPEATABLE = new Set(["40P01", "40001"]);

const ATTEMPTS = 5;

/**
 * Runs a transaction, again where Postgres itself broke it off to end a deadlock. Locks are taken in one order
 * everywhere, so this is a safety net and not a way of working.
 */
export async function inTransaction<T>(sql: Sql, work: (tx: TransactionSql) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return (await sql.begin("ISOLATION LEVEL READ COMMITTED", work)) as T;
    } catch (error) {
      const code = (error as { code?: unknown }).code;
      if (attempt >= ATTEMPTS || typeof code !== "string" || !REPEATABLE.has(code)) throw error;
    }
  }
}
