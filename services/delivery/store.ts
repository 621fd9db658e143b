/** Delivery's own statements: bots and what stands in their lanes' way. Claim and settle are the ledger's. */
import type { Sql } from "#services/database/client.ts";
import { HoldReason, SHARD_COUNT } from "#services/ledger/send.ts";

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
export async function takePreviewTurn(sql: Sql, accountId: number, intervalSeconds: number): Promise<boolean> {
  const rows = await sql`
    INSERT INTO preview_turn AS p (account_id, taken_at) VALUES (${accountId}, clock_timestamp())
    ON CONFLICT (account_id) DO UPDATE SET taken_at = excluded.taken_at
    WHERE p.taken_at <= clock_timestamp() - ${intervalSeconds} * interval '1 second'
    RETURNING 1`;
  return rows.length > 0;
}
