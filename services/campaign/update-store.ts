/** Statements about updates. Raw: they carry people's data, which drizzle puts into its errors. */
import type { Sql } from "#services/core/database/client.ts";

/** What decides about a bot's updates. */
export interface UpdateBot {
  id: number;
  /** The bot, and with a duplicate the one that has its number: Telegram may still send that one's updates here. */
  botIds: number[];
}

/** Undefined for an unknown bot. */
export async function selectUpdateBot(sql: Sql, botId: number): Promise<UpdateBot | undefined> {
  const [row] = await sql<UpdateBot[]>`
    SELECT b.id, b.id || ARRAY(SELECT h.id FROM bot h
      WHERE b.number IS NULL AND h.number = ANY(b.former_numbers)) AS "botIds"
    FROM bot b WHERE b.id = ${botId}`;
  return row;
}
