/** Statements about updates. Raw: they carry people's data, which drizzle puts into its errors. */
import type { Sql, TransactionSql } from "#services/database/client.ts";

/** What decides about a bot's updates. */
export interface UpdateBot {
  /** The bot, and with a duplicate the one that has its number: Telegram may still send that one's updates here. */
  botIds: number[];
}

/** Undefined for an unknown bot. */
export async function selectUpdateBot(sql: Sql, botId: number): Promise<UpdateBot | undefined> {
  const [row] = await sql<UpdateBot[]>`
    SELECT b.id || ARRAY(SELECT h.id FROM bot h
      WHERE b.number IS NULL AND h.number = ANY(b.former_numbers)) AS "botIds"
    FROM bot b WHERE b.id = ${botId}`;
  return row;
}

/**
 * Opts out the leads of one campaign and chat; repeating it changes nothing.
 * @returns how many it has changed; undefined if the bot has no such campaign: the button was not one of ours.
 */
export async function updateChatOptedOut(
  tx: TransactionSql,
  { botIds, campaignId, chatId }: { botIds: number[]; campaignId: number; chatId: number },
): Promise<number | undefined> {
  const [row] = await tx<{ changed: number }[]>`
    WITH own AS (SELECT id FROM campaign WHERE id = ${campaignId} AND bot_id = ANY(${botIds}::bigint[])),
    changed AS (
      UPDATE lead l SET opted_out = true FROM own
      WHERE l.campaign_id = own.id AND l.chat_id = ${chatId} AND NOT l.opted_out
      RETURNING l.id)
    SELECT (SELECT count(*) FROM changed)::int AS changed FROM own`;
  return row?.changed;
}
