/** Statements on sessions. Raw: the one that every REST call asks for is prepared. */

import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { isPaid } from "#services/core/ledger/predicates.ts";

/** Held until the transaction ends, so that calls for one account see each other's sessions. @returns false if there is none. */
export async function lockAccount(tx: TransactionSql, accountId: number): Promise<boolean> {
  const rows = await tx`SELECT 1 FROM account WHERE id = ${accountId} FOR NO KEY UPDATE`;
  return rows.length > 0;
}

export async function accountExists(sql: Sql, accountId: number): Promise<boolean> {
  return (await sql`SELECT 1 FROM account WHERE id = ${accountId}`).length > 0;
}

export interface NewSession {
  tokenHash: Uint8Array;
  accountId: number;
  ttlSeconds: number;
}

/** @returns when it ends, on Postgres' clock. */
export async function insertSession(tx: TransactionSql, session: NewSession): Promise<Date> {
  const { tokenHash, accountId, ttlSeconds } = session;
  const [row] = await tx<{ expiresAt: Date }[]>`
    INSERT INTO session (token_hash, account_id, expires_at, created_at)
    VALUES (${tokenHash}, ${accountId}, now() + ${ttlSeconds}::int * interval '1 second', clock_timestamp())
    RETURNING expires_at AS "expiresAt"`;
  return row!.expiresAt;
}

/** Keeps the `most` sessions of an account that were used last; a new one counts as used. */
export async function deleteLeastRecentlyUsed(tx: TransactionSql, accountId: number, most: number): Promise<void> {
  await tx`
    DELETE FROM session WHERE account_id = ${accountId} AND token_hash NOT IN (
      SELECT token_hash FROM session WHERE account_id = ${accountId} AND expires_at > now()
      ORDER BY coalesce(last_used_at, created_at) DESC NULLS LAST, expires_at DESC LIMIT ${most})`;
}

/** More than one call adds, so the table shrinks to the live sessions; few enough to cost the call nothing. */
const EXPIRED_PER_CALL = 100;

/** Deletes some sessions that have expired; several calls at once each take others. */
export async function deleteExpiredSessions(sql: Sql): Promise<void> {
  await sql`
    DELETE FROM session WHERE token_hash IN (SELECT token_hash FROM session WHERE expires_at < now()
      ORDER BY expires_at LIMIT ${EXPIRED_PER_CALL} FOR UPDATE SKIP LOCKED)`;
}

export interface ResolvedSession {
  accountId: number;
  /** Whether the account's subscription is active now. */
  paid: boolean;
  expiresAt: Date;
}

/** A session that has not ended, with what its account may do. Every REST call asks, so this is one prepared query. */
export async function selectSession(sql: Sql, tokenHash: Uint8Array): Promise<ResolvedSession | undefined> {
  const [row] = await sql<ResolvedSession[]>`
    SELECT s.account_id AS "accountId", s.expires_at AS "expiresAt", ${isPaid(sql, 0)} AS paid
    FROM session s JOIN account a ON a.id = s.account_id
    WHERE s.token_hash = ${tokenHash} AND s.expires_at > now()`;
  return row;
}

/** One that a call is deleting is left out: nobody waits for another. `hashes` are in hexadecimal. */
export async function updateLastUsed(sql: Sql, hashes: readonly string[], agesMs: readonly number[]): Promise<void> {
  await sql`
    UPDATE session s SET last_used_at = greatest(s.last_used_at, u.at)
    FROM (SELECT t.token_hash AS hash, clock_timestamp() - k.age * interval '1 ms' AS at
      FROM unnest(${[...hashes]}::text[], ${[...agesMs]}::float8[]) AS k (hash, age)
      JOIN session t ON t.token_hash = decode(k.hash, 'hex') FOR NO KEY UPDATE OF t SKIP LOCKED) AS u
    WHERE s.token_hash = u.hash`;
}

export interface ListedSession {
  id: string;
  createdAt: Date | null;
  lastUsedAt: Date | null;
  expiresAt: Date;
}

/** The last used first. */
export async function selectSessions(sql: Sql, accountId: number): Promise<ListedSession[]> {
  return await sql<ListedSession[]>`
    SELECT left(encode(token_hash, 'hex'), 16) AS id, created_at AS "createdAt", last_used_at AS "lastUsedAt",
      expires_at AS "expiresAt"
    FROM session WHERE account_id = ${accountId} AND expires_at > now()
    ORDER BY coalesce(last_used_at, created_at) DESC NULLS LAST, expires_at DESC LIMIT 1000`;
}

/** @returns whose it was; undefined if there is no such session. */
export async function deleteSession(tx: TransactionSql, tokenHash: Uint8Array): Promise<number | undefined> {
  const [row] = await tx<{ accountId: number }[]>`
    DELETE FROM session WHERE token_hash = ${tokenHash} RETURNING account_id AS "accountId"`;
  return row?.accountId;
}

/** Those that are named, or all. @returns how many. */
export async function deleteSessions(tx: TransactionSql, accountId: number, ids: readonly string[]): Promise<number> {
  const result = await tx`
    DELETE FROM session WHERE account_id = ${accountId}
      AND (${ids.length === 0}::boolean OR left(encode(token_hash, 'hex'), 16) = ANY(${[...ids]}::text[]))`;
  return result.count;
}
