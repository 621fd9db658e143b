/**
 * Statements on the audit log. Raw ones: they run on either client, also in drizzle's transactions, so they take no Dates. A moment
 * in full precision is a text on its way in: the client cuts what it takes for a timestamp to milliseconds.
 */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import type { AuditObject } from "./subject.ts";

type Queryable = Sql | TransactionSql;

export interface EntryFields {
  token: string;
  session: string;
  /** Empty where it is not known. */
  address: string;
  accountId: number | undefined;
  call: string;
  object: AuditObject | undefined;
  outcome: string;
  changes: number;
}

export interface EntryRow extends EntryFields {
  id: string;
  slot: number;
  calls: number;
}

/** Operators and Telegram name a bot or a campaign and no account: it is that one's. */
function accountOf(sql: Queryable, { accountId, object }: EntryFields) {
  if (accountId !== undefined) return sql`${accountId}::bigint`;
  if (object?.kind === "bot") return sql`(SELECT o.account_id FROM bot o WHERE o.id = ${object.id}::bigint)`;
  if (object?.kind === "campaign") return sql`(SELECT o.account_id FROM campaign o WHERE o.id = ${object.id}::bigint)`;
  return sql`NULL::bigint`;
}

/**
 * Writes a row of an entry as the last statement of a transaction.
 * @param at of the entry's first row; undefined for now. `certain`: without asking whether anything was written. A transaction
 *   gets its id with its first write or row lock.
 * @returns when, as text in full precision; undefined if nothing was written before.
 */
export async function insertEntry(
  tx: Queryable,
  entry: EntryRow,
  { at, certain }: { at: string | undefined; certain: boolean },
): Promise<string | undefined> {
  const [row] = await tx<{ at: string }[]>`
    INSERT INTO audit_entry (at, id, slot, account_id, calls, changes, token, session, address, call, object_kind, object_id,
      outcome)
    SELECT coalesce(${at ?? null}::text::timestamptz, clock_timestamp()), ${entry.id}::uuid, ${entry.slot}::int,
      ${accountOf(tx, entry)}, ${entry.calls}::int, ${entry.changes}::int, ${entry.token}, ${entry.session},
      nullif(${entry.address}, ''), ${entry.call}, ${entry.object?.kind ?? ""}, ${entry.object?.id ?? ""}, ${entry.outcome}
    WHERE ${certain}::boolean OR pg_current_xact_id_if_assigned() IS NOT NULL
    RETURNING at::text AS at`;
  return row?.at;
}

/** Adds a call to the row that this connection has for the entry and the minute. */
export async function addToMinute(tx: TransactionSql, entry: EntryFields & { id: string }): Promise<void> {
  await tx`
    INSERT INTO audit_entry AS e (at, id, slot, account_id, calls, changes, token, session, address, call, object_kind,
      object_id, outcome)
    SELECT date_trunc('minute', clock_timestamp()), ${entry.id}::uuid, pg_backend_pid(), ${accountOf(tx, entry)}, 1,
      ${entry.changes}::int, ${entry.token}, ${entry.session}, nullif(${entry.address}, ''), ${entry.call},
      ${entry.object?.kind ?? ""}, ${entry.object?.id ?? ""}, ${entry.outcome}
    ON CONFLICT (at, id, slot) DO UPDATE SET calls = e.calls + 1, changes = e.changes + excluded.changes`;
}

export interface EntryKey {
  at: string;
  id: string;
}

export async function updateOutcome(sql: Sql, { at, id }: EntryKey, outcome: string): Promise<void> {
  await sql`UPDATE audit_entry SET outcome = ${outcome} WHERE at = ${at}::text::timestamptz AND id = ${id}::uuid`;
}

export async function deleteEntry(sql: Sql, { at, id }: EntryKey): Promise<void> {
  await sql`DELETE FROM audit_entry WHERE at = ${at}::text::timestamptz AND id = ${id}::uuid`;
}

export interface AuditFilter {
  accountId: number | undefined;
  /** `package.Service/Method`; empty for all. */
  call: string;
  /** Microseconds since the epoch: from `fromUs`, and before `toUs`. */
  fromUs: number | undefined;
  toUs: number | undefined;
  /** Where the page before has ended. */
  before: { atUs: number; id: string } | undefined;
  limit: number;
}

export interface AuditEntry {
  atUs: number;
  id: string;
  token: string;
  session: string;
  address: string | null;
  accountId: number | null;
  call: string;
  objectKind: string;
  objectId: string;
  outcome: string;
  calls: number;
  changes: number;
}

/** Newest first; the rows of one entry added up. */
export async function selectEntries(sql: Sql, filter: AuditFilter): Promise<AuditEntry[]> {
  const moment = (us: number) => sql`timestamptz 'epoch' + ${us}::bigint * interval '1 microsecond'`;
  const { before, accountId, call, fromUs, toUs } = filter;
  return await sql<AuditEntry[]>`
    SELECT (extract(epoch FROM at) * 1000000)::bigint AS "atUs", id, min(token) AS token, min(session) AS session,
      min(address) AS address, min(account_id) AS "accountId", min(call) AS call, min(object_kind) AS "objectKind",
      min(object_id) AS "objectId", min(outcome) AS outcome, sum(calls)::int AS calls, sum(changes)::bigint AS changes
    FROM audit_entry WHERE true
      ${accountId === undefined ? sql`` : sql`AND account_id = ${accountId}`}
      ${call === "" ? sql`` : sql`AND call = ${call}`}
      ${fromUs === undefined ? sql`` : sql`AND at >= ${moment(fromUs)}`}
      ${toUs === undefined ? sql`` : sql`AND at < ${moment(toUs)}`}
      ${before === undefined ? sql`` : sql`AND (at, id) < (${moment(before.atUs)}, ${before.id}::uuid)`}
    GROUP BY at, id ORDER BY at DESC, id DESC LIMIT ${filter.limit}`;
}
