/**
 * The months of `audit_entry`, and how long entries stay. A month's partition is made long before it begins. What comes while
 * there is none (nobody looked after the table for months) goes into the default partition, and moves when the month is made.
 */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { SqlState, sqlStateOf } from "#services/core/database/retry.ts";

const KEEP_DAYS = 400;
const KEEP_ADDRESS_DAYS = 30;
const BATCH = 1_000;
/** This month and so many more. */
const MONTHS_AHEAD = 3;

/** Making and dropping a partition waits for writers, and others wait behind it: rather later than long. */
const LOCK_TIMEOUT_MS = 200;
/** Several processes look after the table; any fixed number that nothing else locks. */
const PARTITION_LOCK = 7_315_004;

/** Makes the months that are missing. @returns false: there is never more to do at once. */
export async function makeMonths(sql: Sql): Promise<boolean> {
  const missing = await sql<{ name: string; from: string; to: string }[]>`
    SELECT m.name, m.first AS "from", m.next AS "to" FROM (
      SELECT 'audit_entry_' || to_char(f, 'YYYY_MM') AS name, (f AT TIME ZONE 'utc')::text AS first,
        ((f + interval '1 month') AT TIME ZONE 'utc')::text AS next
      FROM generate_series(date_trunc('month', now() AT TIME ZONE 'utc'),
        date_trunc('month', now() AT TIME ZONE 'utc') + ${MONTHS_AHEAD} * interval '1 month', interval '1 month') AS f) AS m
    WHERE to_regclass(m.name) IS NULL`;
  for (const { name, from, to } of missing) await withLock(sql, (tx) => makeMonth(tx, name, from, to));
  return false;
}

async function makeMonth(tx: TransactionSql, name: string, from: string, to: string): Promise<void> {
  const [known] = await tx`SELECT 1 WHERE to_regclass(${name}) IS NOT NULL`;
  if (known) return;
  await tx`LOCK TABLE audit_entry_default IN ACCESS EXCLUSIVE MODE`;
  await tx`CREATE TABLE ${tx(name)} (LIKE audit_entry INCLUDING DEFAULTS) WITH (fillfactor = 70)`;
  await tx`
    WITH moved AS (DELETE FROM audit_entry_default WHERE at >= ${from}::timestamptz AND at < ${to}::timestamptz RETURNING *)
    INSERT INTO ${tx(name)} SELECT * FROM moved`;
  // Bounds are no parameters in Postgres; both come from it.
  await tx.unsafe(`ALTER TABLE audit_entry ATTACH PARTITION ${name} FOR VALUES FROM ('${from}') TO ('${to}')`);
}

/** Drops a month that is over for longer than entries are kept. @returns whether there may be another one. */
export async function dropPastMonth(sql: Sql): Promise<boolean> {
  const [past] = await sql<{ name: string }[]>`
    SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'audit_entry'::regclass AND c.relname ~ '^audit_entry_[0-9]{4}_[0-9]{2}$'
      AND (to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month') AT TIME ZONE 'utc'
        < now() - ${KEEP_DAYS} * interval '1 day'
    ORDER BY 1 LIMIT 1`;
  if (past === undefined) return false;
  return await withLock(sql, async (tx) => {
    await tx`DROP TABLE IF EXISTS ${tx(past.name)}`;
  });
}

/** Of the month that is partly over. */
export async function deleteOldEntries(sql: Sql): Promise<boolean> {
  const result = await sql`
    DELETE FROM audit_entry WHERE (at, id, slot) IN (
      SELECT at, id, slot FROM audit_entry WHERE at < now() - ${KEEP_DAYS} * interval '1 day' LIMIT ${BATCH})`;
  return result.count === BATCH;
}

export async function forgetAddresses(sql: Sql): Promise<boolean> {
  const result = await sql`
    UPDATE audit_entry SET address = NULL WHERE (at, id, slot) IN (
      SELECT at, id, slot FROM audit_entry
      WHERE at < now() - ${KEEP_ADDRESS_DAYS} * interval '1 day' AND address IS NOT NULL LIMIT ${BATCH})`;
  return result.count === BATCH;
}

/** @returns false if somebody else works on the partitions, or writers would have had to wait: the next round will do. */
async function withLock(sql: Sql, work: (tx: TransactionSql) => Promise<void>): Promise<boolean> {
  try {
    return (await sql.begin(async (tx) => {
      await tx.unsafe(`SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`);
      const [lock] = await tx<{ mine: boolean }[]>`SELECT pg_try_advisory_xact_lock(${PARTITION_LOCK}) AS mine`;
      if (lock!.mine) await work(tx);
      return lock!.mine;
    })) as boolean;
  } catch (error) {
    if (sqlStateOf(error) === SqlState.lockNotAvailable) return false;
    throw error;
  }
}
