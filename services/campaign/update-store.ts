/** Statements about updates. Raw: they carry people's data, which drizzle puts into its errors. */
import type { Sql, TransactionSql } from "#services/database/client.ts";

/** What Telegram sends back with a bot's updates; undefined for an unknown bot. */
export async function selectWebhookSecret(sql: Sql, botId: number): Promise<string | undefined> {
  const [row] = await sql<{ secret: string }[]>`SELECT webhook_secret AS secret FROM bot WHERE id = ${botId}`;
  return row?.secret;
}

/**
 * Opts out the leads of one campaign and chat; repeating it changes nothing.
 * @returns how many it has changed; undefined if the bot has no such campaign: the button was not one of ours.
 */
export async function updateChatOptedOut(
  tx: TransactionSql,
  { botId, campaignId, chatId }: { botId: number; campaignId: number; chatId: number },
): Promise<number | undefined> {
  const [row] = await tx<{ changed: number }[]>`
    WITH own AS (SELECT id FROM campaign WHERE id = ${campaignId} AND bot_id = ${botId}),
    changed AS (
      UPDATE lead l SET opted_out = true FROM own
      WHERE l.campaign_id = own.id AND l.chat_id = ${chatId} AND NOT l.opted_out
      RETURNING l.id)
    SELECT (SELECT count(*) FROM changed)::int AS changed FROM own`;
  return row?.changed;
}
