import { notAChange } from "#services/core/audit/record.ts";
import type { Sql } from "./client.ts";

/** Tables whose ids callers may choose or leave to us. */
export type IdentityTable = "tariff" | "account" | "bot" | "campaign" | "lead";

/** Any fixed number that nothing else locks. */
const SEQUENCE_LOCK = 7_315_002;

/**
 * Above this the sequence does not follow: one call with the largest id would leave no number to assign. Nobody gets
 * there by assigning.
 */
const FOLLOWED_UP_TO = 2 ** 52;

/**
 * Keeps assigned ids clear of one that a caller chose, so that a later "assign one" does not meet it.
 *
 * Sequences do not roll back and must not go down, so this is a short transaction of its own under a lock; an id that is
 * assigned at this very moment can still collide, and `retryCollisions` takes the next one.
 */
export async function keepSequenceAhead(sql: Sql, table: IdentityTable, id: number): Promise<void> {
  if (id <= 0 || id > FOLLOWED_UP_TO) return;
  const sequence = `${table}_id_seq`;
  const [row] = await sql<{ behind: boolean }[]>`
    SELECT last_value < ${id} OR NOT is_called AS behind FROM ${sql(sequence)}`;
  if (!row?.behind) return;
  await notAChange(() =>
    sql.begin(async (tx) => {
      await tx`SELECT pg_advisory_xact_lock(${SEQUENCE_LOCK})`;
      await tx`
      SELECT setval(${sequence}::regclass, ${id}) FROM ${tx(sequence)}
      WHERE last_value < ${id} OR (last_value = ${id} AND NOT is_called)`;
    }),
  );
}
