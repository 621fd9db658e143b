/** Delivery's own statements: bots and what stands in their lanes' way. Claim and settle are the ledger's. */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { ALL_BOTS, HoldReason } from "#services/core/ledger/send.ts";
import { CURRENT_TIMELINE } from "#services/core/ledger/timeline.ts";

/** @returns false if the account had a preview less than `intervalSeconds` ago; otherwise this is its turn. */
export async function takePreviewTurn(
  tx: TransactionSql,
  accountId: number,
  intervalSeconds: number,
): Promise<boolean> {
  const rows = await tx`
    INSERT INTO preview_turn AS p (account_id, taken_at) VALUES (${accountId}, clock_timestamp())
    ON CONFLICT (account_id) DO UPDATE SET taken_at = excluded.taken_at
    WHERE p.taken_at <= clock_timestamp() - ${intervalSeconds} * interval '1 second'
    RETURNING 1`;
  return rows.length > 0;
}

export async function botExists(sql: Sql, botId: number): Promise<boolean> {
  return (await sql`SELECT 1 FROM bot WHERE id = ${botId}`).length > 0;
}

export interface LeaseRow {
  role: number;
  shard: number;
  owner: string | null;
  fence: number;
  expiresAt: Date | null;
}

export async function selectLeases(sql: Sql): Promise<LeaseRow[]> {
  return await sql<LeaseRow[]>`
    SELECT role, shard, owner, fence, expires_at AS "expiresAt" FROM shard_lease ORDER BY role, shard`;
}

/** What a restore or a failover changes about a database. */
export interface Identity {
  identity: string;
  timeline: number;
}

export async function selectIdentity(sql: Sql): Promise<Identity> {
  const [row] = await sql<Identity[]>`
    SELECT s.system_identifier || ':' || t.timeline || ':' || d.oid AS identity, t.timeline
    FROM pg_control_system() s, (SELECT ${sql.unsafe(CURRENT_TIMELINE)} AS timeline) AS t, pg_database d
    WHERE d.datname = current_database()`;
  return row!;
}

/** Keeps the first identity ever given. @returns the one that is kept. */
export async function rememberIdentity(sql: Sql, identity: string): Promise<string> {
  await sql`INSERT INTO database_identity (id, identity) VALUES (1, ${identity}) ON CONFLICT DO NOTHING`;
  const [row] = await sql<{ identity: string }[]>`SELECT identity FROM database_identity WHERE id = 1`;
  return row!.identity;
}

/** Holds all sending if the identity kept is not this one. Decided by that row, so that it never undoes an acceptance. */
export async function holdOtherIdentity(sql: Sql, identity: string, message: string): Promise<void> {
  await sql`
    INSERT INTO lane AS l (bot_id, reason, message)
    SELECT ${ALL_BOTS}::bigint, ${HoldReason.restored}::smallint, ${message}
    FROM (SELECT FROM database_identity WHERE id = 1 AND identity <> ${identity} FOR SHARE) AS other
    ON CONFLICT (bot_id, reason) DO UPDATE SET message = excluded.message WHERE l.message <> excluded.message`;
}

/** Keeps this identity instead, and lifts the holds of all, but for that of a Bot API that is not well. */
export async function acceptIdentity(tx: TransactionSql, identity: string): Promise<void> {
  await tx`UPDATE database_identity SET identity = ${identity} WHERE id = 1`;
  await tx`DELETE FROM lane WHERE bot_id = ${ALL_BOTS} AND reason IN (${HoldReason.operator}, ${HoldReason.restored})`;
}

/** What setWebhook needs. */
export interface WebhookBot {
  tokenSealed: string;
  /** Of before it was sealed; empty since. */
  plainSecret: string;
  secretSealed: string | null;
  version: number;
}

export async function selectWebhookBot(sql: Sql, botId: number): Promise<WebhookBot | undefined> {
  const [row] = await sql<WebhookBot[]>`
    SELECT token_sealed AS "tokenSealed", webhook_secret AS "plainSecret", webhook_secret_sealed AS "secretSealed",
      webhook_version AS version
    FROM bot WHERE id = ${botId}`;
  return row;
}
