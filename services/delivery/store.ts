/** Delivery's own statements: bots and what stands in their lanes' way. Claim and settle are the ledger's. */
import type { Sql, TransactionSql } from "#services/database/client.ts";
import { ALL_BOTS, HoldReason, SendKind, SendReason, SendState, SHARD_COUNT } from "#services/ledger/send.ts";
import { CURRENT_TIMELINE } from "#services/ledger/timeline.ts";

export interface LaneHold {
  botId: number;
  reason: HoldReason;
  /** Milliseconds from now; null for "until it is dealt with". */
  forMs: number | null;
  message: string;
  tokenVersion: number;
}

/**
 * Holds a lane for every replica and the relay. A longer hold, or one of an operator, is not shortened; a hold for a dead
 * token is not written if the token was replaced meanwhile.
 */
export async function upsertHold(sql: Sql, hold: LaneHold, offsetMs: number): Promise<void> {
  await sql`
    INSERT INTO lane AS l (bot_id, hold_until, reason, message, token_version)
    SELECT b.id, now() + (${offsetMs}::float8 + ${hold.forMs}::float8) * interval '1 ms', ${hold.reason}::smallint,
      ${hold.message}, ${hold.tokenVersion}::int
    FROM bot b WHERE b.id = ${hold.botId}
      AND (${hold.reason}::smallint <> ${HoldReason.tokenDead} OR b.token_version = ${hold.tokenVersion}::int)
    ON CONFLICT (bot_id) DO UPDATE SET hold_until = excluded.hold_until, reason = excluded.reason,
      message = excluded.message, token_version = excluded.token_version
    WHERE l.reason <> ${HoldReason.operator}
      AND (l.hold_until < coalesce(excluded.hold_until, 'infinity')
        OR (l.hold_until IS NULL AND excluded.reason = ${HoldReason.tokenDead}))`;
}

/** Lifts a hold that was made for this reason; another one stays. */
export async function deleteHold(sql: Sql, botId: number, reason: HoldReason): Promise<void> {
  await sql`DELETE FROM lane WHERE bot_id = ${botId} AND reason = ${reason}`;
}

/** Bots of these shards whose breaker is open, with what a probe needs. At most 500 at once. */
export async function selectOpenBreakers(
  sql: Sql,
  shards: number[],
): Promise<{ botId: number; tokenSealed: string; tokenVersion: number }[]> {
  return await sql<{ botId: number; tokenSealed: string; tokenVersion: number }[]>`
    SELECT l.bot_id AS "botId", b.token_sealed AS "tokenSealed", b.token_version AS "tokenVersion"
    FROM lane l JOIN bot b ON b.id = l.bot_id
    WHERE l.reason = ${HoldReason.breaker} AND l.bot_id % ${SHARD_COUNT} = ANY(${shards}::bigint[])
    ORDER BY l.bot_id LIMIT 500`;
}

/** Messages in any second, by bot. */
export async function selectLimits(sql: Sql, botIds: number[]): Promise<Map<number, number>> {
  const rows = await sql<{ botId: number; limit: number }[]>`
    SELECT id AS "botId", messages_per_second AS "limit" FROM bot WHERE id = ANY(${botIds}::bigint[])`;
  return new Map(rows.map((row) => [row.botId, row.limit]));
}

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

/** Replaces whatever holds the lane; bot 0 holds all. */
export async function upsertOperatorHold(tx: TransactionSql, botId: number, message: string): Promise<void> {
  await tx`
    INSERT INTO lane (bot_id, reason, message) VALUES (${botId}, ${HoldReason.operator}, ${message})
    ON CONFLICT (bot_id) DO UPDATE SET hold_until = NULL, reason = excluded.reason, message = excluded.message`;
}

/** @returns how many: 1, or 0 if nothing held it. */
export async function deleteAnyHold(tx: TransactionSql, botId: number): Promise<number> {
  return (await tx`DELETE FROM lane WHERE bot_id = ${botId}`).count;
}

export interface HoldRow {
  botId: number;
  reason: HoldReason;
  message: string;
  until: Date | null;
}

/** Holds that stand now, by bot, at most 1,000. */
export async function selectHolds(sql: Sql, offsetMs: number): Promise<HoldRow[]> {
  return await sql<HoldRow[]>`
    SELECT bot_id AS "botId", reason, message, hold_until AS until FROM lane
    WHERE hold_until IS NULL OR hold_until > now() + ${offsetMs}::float8 * interval '1 ms'
    ORDER BY bot_id LIMIT 1000`;
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
    SELECT ${ALL_BOTS}::bigint, ${HoldReason.operator}::smallint, ${message}
    FROM (SELECT FROM database_identity WHERE id = 1 AND identity <> ${identity} FOR SHARE) AS other
    ON CONFLICT (bot_id) DO UPDATE SET hold_until = NULL, reason = excluded.reason, message = excluded.message
    WHERE l.hold_until IS NOT NULL OR l.message <> excluded.message`;
}

/** Keeps this identity instead, and lifts the hold of all. */
export async function acceptIdentity(tx: TransactionSql, identity: string): Promise<void> {
  await tx`UPDATE database_identity SET identity = ${identity} WHERE id = 1`;
  await tx`DELETE FROM lane WHERE bot_id = ${ALL_BOTS}`;
}

/** Sources with sends that could go out now: open broadcasts, and blocks with due follow-ups. */
export async function selectDueSources(sql: Sql): Promise<number[]> {
  const rows = await sql<{ sourceId: number }[]>`
    SELECT source_id AS "sourceId" FROM broadcast WHERE state IN (1, 4)
    UNION SELECT source_id FROM block ORDER BY 1`;
  return rows.map((row) => row.sourceId);
}

/** queued or sending → unconfirmed; of follow-ups only what is due, of broadcasts only what belongs to the open run. */
export async function updateToDoubted(
  tx: TransactionSql,
  sourceId: number,
): Promise<{ botId: number; was: SendState; n: number }[]> {
  return await tx<{ botId: number; was: SendState; n: number }[]>`
    WITH doubted AS (
      UPDATE send s SET state = ${SendState.unconfirmed}, reason = ${SendReason.restored}, settled_at = clock_timestamp(),
        claim_token = NULL
      WHERE s.source_id = ${sourceId} AND s.state IN (${SendState.queued}, ${SendState.sending})
        AND ((s.kind = ${SendKind.followUp} AND (s.due_at IS NULL OR s.due_at <= now()))
          OR EXISTS (SELECT FROM broadcast b WHERE b.source_id = s.source_id AND (b.run = s.run OR s.state = ${SendState.sending})))
      RETURNING s.bot_id, old.state AS was)
    SELECT bot_id AS "botId", was, count(*)::int AS n FROM doubted GROUP BY 1, 2`;
}

/** What setWebhook needs. */
export async function selectWebhookBot(
  sql: Sql,
  botId: number,
): Promise<{ tokenSealed: string; webhookSecret: string } | undefined> {
  const [row] = await sql<{ tokenSealed: string; webhookSecret: string }[]>`
    SELECT token_sealed AS "tokenSealed", webhook_secret AS "webhookSecret" FROM bot WHERE id = ${botId}`;
  return row;
}
