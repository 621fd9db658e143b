/**
 * Whether a bot reaches a chat: one answer for every lead of the two. What tells of it comes late, twice and in any order
 * (Telegram's updates, the platform's calls, refusals of sends), so each fact says when it was so, and the newest decides:
 *
 *   second ─► rank (refusal < report < update) ─► tie ─► unreachable
 *
 * - A second, because that is what Telegram gives. What happened in one second is told apart by rank, then by tie: an
 *   update's id, or a report's microsecond. Update ids order nothing else: they may jump after a quiet week.
 * - A send's refusal counts at the second in which its request was written, whenever it is settled.
 * - A time more than five minutes ahead of Postgres' clock counts as now. A chat without a row has the time 0.
 *
 * The order is total, so facts may come in any order and any number of times. Invariants:
 *
 * 1. The row of `reachability` is the greatest fact that was recorded. Only chats of leads have one.
 * 2. `lead.unreachable` follows the row. Who writes a fact commits it and then shows it to the leads; who makes leads commits
 *    them and then looks at the facts. So whichever comes first is seen by the other. Both hold the row while they write.
 *
 * Order of locks: reachability → leads, by chat. DeleteLead comes from the other side, and is repeated after a deadlock.
 */
import { noteChange } from "#services/core/audit/record.ts";
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import type { SendReason } from "./send.ts";

/** Within one second: what is worth more. */
export const FactRank = { refusal: 0, report: 1, update: 2 } as const;

/** In microseconds, as SQL. */
const MAX_AHEAD_US = 300_000_000;

export interface ReachabilityFact {
  /** Rows that stand for one bot of Telegram's. */
  botIds: readonly number[];
  chatId: number;
  /** 0 reachable, otherwise why not. */
  unreachable: SendReason;
  /** When it was so, in microseconds since 1970; null for now. */
  atUs: number | null;
  /** The update that told it; null where somebody reports it. */
  updateId: number | null;
}

/** Records one fact and shows it to the leads. Repeatable. @returns how many leads changed. */
export async function applyFact(sql: Sql, fact: ReachabilityFact): Promise<number> {
  await upsertFact(sql, fact);
  return (await sql.begin(async (tx) => {
    const changes = await showFacts(tx, fact.botIds, [fact.chatId]);
    noteChange({ changes });
    return changes;
  })) as number;
}

/** The lead's row is held so that a person who is erased at this moment leaves no row behind. */
async function upsertFact(sql: Sql, { botIds, chatId, unreachable, atUs, updateId }: ReachabilityFact): Promise<void> {
  const rank = updateId === null ? FactRank.report : FactRank.update;
  await sql`
    INSERT INTO reachability AS r (bot_id, chat_id, second, rank, tie, unreachable)
    SELECT b.id, ${chatId}, at.us / 1000000, ${rank}::smallint, coalesce(${updateId}::bigint, at.us % 1000000),
      ${unreachable}::smallint
    FROM (SELECT CASE WHEN ${atUs}::bigint <= us + ${MAX_AHEAD_US} THEN ${atUs}::bigint ELSE us END AS us
        FROM (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us) AS clock) AS at,
      unnest(${[...botIds]}::bigint[]) AS b (id)
    WHERE EXISTS (SELECT FROM lead l WHERE l.bot_id = b.id AND l.chat_id = ${chatId} FOR KEY SHARE)
    ORDER BY b.id
    ON CONFLICT (bot_id, chat_id) DO UPDATE SET second = excluded.second, rank = excluded.rank, tie = excluded.tie,
      unreachable = excluded.unreachable
    WHERE (excluded.second, excluded.rank, excluded.tie, excluded.unreachable) > (r.second, r.rank, r.tie, r.unreachable)`;
}

/** Brings leads of these chats in line with what is known. @returns how many changed. */
export async function showFacts(
  sql: Sql | TransactionSql,
  botIds: readonly number[],
  chatIds: readonly number[],
): Promise<number> {
  const rows = await sql`
    WITH known AS (
      SELECT r.bot_id, r.chat_id, r.unreachable FROM unnest(${[...chatIds]}::bigint[]) AS k (chat_id)
      JOIN reachability r ON r.bot_id = ANY(${[...botIds]}::bigint[]) AND r.chat_id = k.chat_id
      ORDER BY r.bot_id, r.chat_id FOR NO KEY UPDATE OF r),
    target AS (
      SELECT l.id, known.unreachable FROM known JOIN lead l ON l.bot_id = known.bot_id AND l.chat_id = known.chat_id
      WHERE l.unreachable <> known.unreachable ORDER BY l.chat_id, l.id FOR NO KEY UPDATE OF l)
    UPDATE lead l SET unreachable = target.unreachable FROM target WHERE l.id = target.id RETURNING l.id`;
  return rows.length;
}

export interface Refusal {
  botId: number;
  chatId: number;
  reason: SendReason;
  /** Milliseconds since the request was written. */
  agoMs: number;
}

/** Records what refused sends have told, in the settle's transaction: the leads follow where nothing newer is known. */
export async function recordRefusals(
  tx: TransactionSql,
  refusals: readonly Refusal[],
  offsetMs: number,
): Promise<void> {
  await tx`
    WITH refused AS (
      SELECT DISTINCT ON (k.bot_id, k.chat_id) k.bot_id, k.chat_id, k.reason,
        floor(extract(epoch FROM clock_timestamp()) + (${offsetMs}::float8 - k.ago_ms) / 1000)::bigint AS second
      FROM unnest(${refusals.map((r) => r.botId)}::bigint[], ${refusals.map((r) => r.chatId)}::bigint[],
        ${refusals.map((r) => r.reason)}::smallint[], ${refusals.map((r) => r.agoMs)}::float8[])
        AS k (bot_id, chat_id, reason, ago_ms)
      ORDER BY k.bot_id, k.chat_id, second DESC, k.reason DESC),
    recorded AS (
      INSERT INTO reachability AS r (bot_id, chat_id, second, rank, tie, unreachable)
      SELECT k.bot_id, k.chat_id, k.second, ${FactRank.refusal}::smallint, 0, k.reason FROM refused k
      WHERE EXISTS (SELECT FROM lead l WHERE l.bot_id = k.bot_id AND l.chat_id = k.chat_id FOR KEY SHARE)
      ORDER BY k.bot_id, k.chat_id
      ON CONFLICT (bot_id, chat_id) DO UPDATE SET second = excluded.second, rank = excluded.rank, tie = excluded.tie,
        unreachable = excluded.unreachable
      WHERE (excluded.second, excluded.rank, excluded.tie, excluded.unreachable) > (r.second, r.rank, r.tie, r.unreachable)
      RETURNING r.bot_id, r.chat_id, r.unreachable),
    target AS (
      SELECT l.id, recorded.unreachable FROM recorded
      JOIN lead l ON l.bot_id = recorded.bot_id AND l.chat_id = recorded.chat_id
      WHERE l.unreachable <> recorded.unreachable ORDER BY l.chat_id, l.id FOR NO KEY UPDATE OF l)
    UPDATE lead l SET unreachable = target.unreachable FROM target WHERE l.id = target.id`;
}

/**
 * Takes back what refusals for this reason have told of these chats, in the settle's transaction: it was the bot's fault. What
 * was known before the refusal is not: the chat counts as reachable from the refusal's second on, and whatever is newer still
 * decides.
 */
export async function withdrawRefusals(
  tx: TransactionSql,
  chats: readonly { botId: number; chatId: number }[],
  reason: SendReason,
): Promise<void> {
  await tx`
    WITH refused AS (
      SELECT r.bot_id, r.chat_id FROM unnest(${chats.map((c) => c.botId)}::bigint[], ${chats.map((c) => c.chatId)}::bigint[])
        AS k (bot_id, chat_id)
      JOIN reachability r ON r.bot_id = k.bot_id AND r.chat_id = k.chat_id
      WHERE r.rank = ${FactRank.refusal} AND r.unreachable = ${reason}
      ORDER BY r.bot_id, r.chat_id FOR NO KEY UPDATE OF r),
    withdrawn AS (
      UPDATE reachability r SET unreachable = 0 FROM refused k WHERE r.bot_id = k.bot_id AND r.chat_id = k.chat_id
      RETURNING r.bot_id, r.chat_id),
    target AS (
      SELECT l.id FROM withdrawn k JOIN lead l ON l.bot_id = k.bot_id AND l.chat_id = k.chat_id
      WHERE l.unreachable = ${reason} ORDER BY l.chat_id, l.id FOR NO KEY UPDATE OF l)
    UPDATE lead l SET unreachable = 0 FROM target WHERE l.id = target.id`;
}

/**
 * Forgets a chat that has no lead left with this bot. The caller has deleted one in this transaction; the row is held
 * first, so that of two that delete the last two leads the later one sees it.
 */
export async function forgetChat(
  tx: TransactionSql,
  { botId, chatId }: { botId: number; chatId: number },
): Promise<void> {
  await tx`SELECT FROM reachability WHERE bot_id = ${botId} AND chat_id = ${chatId} FOR UPDATE`;
  await tx`
    DELETE FROM reachability WHERE bot_id = ${botId} AND chat_id = ${chatId}
      AND NOT EXISTS (SELECT FROM lead WHERE bot_id = ${botId} AND chat_id = ${chatId})`;
}
