/** Statements about bots. */
import { and, eq, sql } from "drizzle-orm";
import type { Drizzle } from "#services/database/client.ts";
import { account, bot, lane } from "#services/database/schema/index.ts";
import { HoldReason } from "#services/ledger/send.ts";
import type { Bot } from "./bot.ts";

/** Drizzle's builder, in a transaction or not. */
export type Queries = Pick<Drizzle, "select" | "insert" | "update" | "delete" | "execute">;

/** Takes the next id before the row is there: the token is sealed for it. */
export async function nextBotId(db: Queries): Promise<number> {
  const [row] = await db.execute<{ id: string }>(sql`SELECT nextval('bot_id_seq') AS id`);
  return Number(row!.id);
}

/** Held until the transaction ends, so that two calls cannot both find the token unchanged. */
export async function lockBot(db: Queries, id: number): Promise<Bot | undefined> {
  const [row] = await db.select().from(bot).where(eq(bot.id, id)).for("no key update");
  return row;
}

export async function accountExists(db: Queries, id: number): Promise<boolean> {
  const rows = await db.select({ id: account.id }).from(account).where(eq(account.id, id));
  return rows.length > 0;
}

/** Fails with a unique violation where somebody else has just made the same bot. */
export async function insertBot(db: Queries, row: Bot): Promise<void> {
  await db.insert(bot).values(row);
}

export async function updateBot(db: Queries, { id, ...values }: Bot): Promise<void> {
  await db.update(bot).set(values).where(eq(bot.id, id));
}

/** A lane that stopped because the token was dead goes on with the new one; any other hold stays. */
export async function deleteDeadTokenLane(db: Queries, botId: number): Promise<void> {
  await db.delete(lane).where(and(eq(lane.botId, botId), eq(lane.reason, HoldReason.tokenDead)));
}

/** Whether the account has this bot. */
export async function botBelongsTo(db: Queries, botId: number, accountId: number): Promise<boolean> {
  const rows = await db
    .select({ id: bot.id })
    .from(bot)
    .where(and(eq(bot.id, botId), eq(bot.accountId, accountId)));
  return rows.length > 0;
}
