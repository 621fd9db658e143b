/** Statements of fault-streak.ts. */
import type { TransactionSql } from "#services/core/database/client.ts";
import { column } from "./column.ts";
import { HoldReason, type SendKey, SendKind, SendReason, SendState } from "./send.ts";

/** Where a refused lead stands; see fault-streak.ts. */
const RefusalState = { fresh: 0, tried: 1, again: 2 } as const;

/** One bot's streak. */
export interface StreakKey {
  botId: number;
  key: string;
}

export interface Chat {
  botId: number;
  chatId: number;
}

/** Leads that nobody has asked about for this long are forgotten, with what they say of the bot. */
const KEPT_DAYS = 2;

export async function lockBots(tx: TransactionSql, botIds: number[]): Promise<void> {
  await tx`SELECT FROM bot WHERE id = ANY(${botIds}::bigint[]) ORDER BY id FOR NO KEY UPDATE`;
}

/** The sources whose leads may be taken back. */
export async function selectSources(tx: TransactionSql, botIds: number[]): Promise<number[]> {
  const rows = await tx<{ sourceId: number }[]>`
    SELECT DISTINCT source_id AS "sourceId" FROM bot_refusal
    WHERE bot_id = ANY(${botIds}::bigint[]) AND state <> ${RefusalState.tried}`;
  return rows.map((row) => row.sourceId);
}

/** The words of the bots that are held for their fault. */
export async function selectHeldWords(tx: TransactionSql, botIds: number[]): Promise<Map<number, string>> {
  const rows = await tx<{ botId: number; words: string }[]>`
    SELECT bot_id AS "botId", words FROM lane
    WHERE reason = ${HoldReason.botFault} AND bot_id = ANY(${botIds}::bigint[])`;
  return new Map(rows.map((row) => [row.botId, row.words]));
}

interface RefusedSend extends SendKey {
  chatId: number;
}

/** Leads of a streak. One that was taken back before does not count towards the number. */
export async function insertRefusals(tx: TransactionSql, streak: StreakKey, sends: RefusedSend[]): Promise<void> {
  await tx`
    DELETE FROM bot_refusal WHERE bot_id = ${streak.botId} AND refused_at < now() - ${KEPT_DAYS} * interval '1 day'`;
  await tx`
    INSERT INTO bot_refusal AS r (bot_id, words, source_id, lead_id, entry, chat_id, state, refused_at)
    SELECT ${streak.botId}::bigint, ${streak.key}, k.source_id, k.lead_id, k.entry, k.chat_id, ${RefusalState.fresh}::smallint,
      clock_timestamp()
    FROM unnest(${column(sends, "sourceId")}::text::bigint[], ${column(sends, "leadId")}::text::bigint[],
      ${column(sends, "entry")}::text::int[], ${column(sends, "chatId")}::text::bigint[])
      AS k (source_id, lead_id, entry, chat_id)
    -- A person who was erased meanwhile leaves nothing here.
    WHERE EXISTS (SELECT FROM lead l WHERE l.id = k.lead_id FOR KEY SHARE)
    ON CONFLICT (bot_id, words, source_id, lead_id, entry) DO UPDATE SET refused_at = excluded.refused_at,
      state = CASE WHEN r.state = ${RefusalState.tried} THEN ${RefusalState.again}::smallint ELSE r.state END`;
}

export async function countFreshChats(tx: TransactionSql, { botId, key }: StreakKey): Promise<number> {
  const [row] = await tx<{ n: number }[]>`
    SELECT count(DISTINCT chat_id)::int AS n FROM bot_refusal
    WHERE bot_id = ${botId} AND words = ${key} AND state = ${RefusalState.fresh}`;
  return row!.n;
}

/** failed → queued for the streak's leads, where their run is open; a follow-up's only run always is. */
export async function updateToTakenBack(
  tx: TransactionSql,
  { botId, key }: StreakKey,
  openRuns: ReadonlyMap<number, number>,
): Promise<{ sourceId: number }[]> {
  return await tx<{ sourceId: number }[]>`
    UPDATE send s SET state = ${SendState.queued}, reason = ${SendReason.botRefused}, settled_at = NULL,
      due_at = CASE WHEN s.kind = ${SendKind.followUp} THEN now() END
    FROM bot_refusal r LEFT JOIN unnest(${[...openRuns.keys()]}::bigint[], ${[...openRuns.values()]}::int[]) AS o (source_id, run)
      ON o.source_id = r.source_id
    WHERE r.bot_id = ${botId} AND r.words = ${key} AND r.state <> ${RefusalState.tried}
      AND s.source_id = r.source_id AND s.lead_id = r.lead_id AND s.entry = r.entry AND s.state = ${SendState.failed}
      AND (s.kind = ${SendKind.followUp} OR s.run = o.run)
    RETURNING s.source_id AS "sourceId"`;
}

/** @returns their chats. */
export async function updateToTried(tx: TransactionSql, { botId, key }: StreakKey): Promise<Chat[]> {
  return await tx<Chat[]>`
    UPDATE bot_refusal SET state = ${RefusalState.tried}
    WHERE bot_id = ${botId} AND words = ${key} AND state <> ${RefusalState.tried}
    RETURNING bot_id AS "botId", chat_id AS "chatId"`;
}

export async function holdForFault(
  tx: TransactionSql,
  { botId, key }: StreakKey,
  { words, firstProbeMs }: { words: string; firstProbeMs: number },
): Promise<void> {
  const message = `Telegram refuses one lead of this bot after another: ${words}`;
  await tx`
    INSERT INTO lane (bot_id, reason, message, words, since, probe_at)
    VALUES (${botId}, ${HoldReason.botFault}, ${message}, ${key}, clock_timestamp(),
      clock_timestamp() + ${firstProbeMs} * interval '1 ms')
    ON CONFLICT (bot_id, reason) DO UPDATE SET message = excluded.message, words = excluded.words,
      since = excluded.since, probe_at = excluded.probe_at, probes = 0, tried_at = NULL`;
}

/** Those that were taken back stay: each of them counts once. */
export async function deleteStreaks(tx: TransactionSql, botId: number): Promise<void> {
  await tx`DELETE FROM bot_refusal WHERE bot_id = ${botId} AND state <> ${RefusalState.tried}`;
}

/** @returns whether there was one. */
export async function deleteFaultHold(tx: TransactionSql, botId: number): Promise<boolean> {
  const rows = await tx`DELETE FROM lane WHERE bot_id = ${botId} AND reason = ${HoldReason.botFault} RETURNING 1`;
  return rows.length > 0;
}
