/** The account service's statements. The one that every REST call asks for is prepared; the rest goes through drizzle. */
import { eq } from "drizzle-orm";
import type { Drizzle, Sql } from "#services/database/client.ts";
import { account, session, tariff } from "#services/database/schema/index.ts";
import type { Account, Tariff } from "./account.ts";

/** Creates or replaces by id; id 0 assigns one. */
export async function upsertTariff(db: Drizzle, { id, ...values }: Tariff): Promise<Tariff> {
  const rows =
    id === 0
      ? await db.insert(tariff).values(values).returning()
      : await db
          .insert(tariff)
          .values({ id, ...values })
          .onConflictDoUpdate({ target: tariff.id, set: values })
          .returning();
  return rows[0]!;
}

/** Creates or replaces by id; id 0 assigns one. Fails with a foreign key violation if the tariff does not exist. */
export async function upsertAccount(db: Drizzle, { id, ...values }: Account): Promise<Account> {
  const rows =
    id === 0
      ? await db.insert(account).values(values).returning()
      : await db
          .insert(account)
          .values({ id, ...values })
          .onConflictDoUpdate({ target: account.id, set: values })
          .returning();
  return rows[0]!;
}

export async function selectAccount(
  db: Drizzle,
  id: number,
): Promise<{ account: Account; tariff: Tariff } | undefined> {
  const [row] = await db
    .select({ account, tariff })
    .from(account)
    .innerJoin(tariff, eq(tariff.id, account.tariffId))
    .where(eq(account.id, id));
  return row;
}

/** @returns when it ends, on Postgres' clock; undefined if there is no such account. */
export async function insertSession(
  sql: Sql,
  { tokenHash, accountId, ttlSeconds }: { tokenHash: Uint8Array; accountId: number; ttlSeconds: number },
): Promise<Date | undefined> {
  const [row] = await sql<{ expiresAt: Date }[]>`
    INSERT INTO session (token_hash, account_id, expires_at)
    SELECT ${tokenHash}, id, now() + ${ttlSeconds}::int * interval '1 second' FROM account WHERE id = ${accountId}
    RETURNING expires_at AS "expiresAt"`;
  return row?.expiresAt;
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
    SELECT s.account_id AS "accountId", s.expires_at AS "expiresAt", coalesce(a.paid_until > now(), false) AS paid
    FROM session s JOIN account a ON a.id = s.account_id
    WHERE s.token_hash = ${tokenHash} AND s.expires_at > now()`;
  return row;
}

export async function deleteSession(db: Drizzle, tokenHash: Uint8Array): Promise<void> {
  await db.delete(session).where(eq(session.tokenHash, tokenHash));
}
