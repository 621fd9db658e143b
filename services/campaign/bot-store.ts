/** Statements about bots. */
import { and, eq, inArray, ne, sql } from "drizzle-orm";
import { NumberState } from "#services/core/bot/number.ts";
import type { Drizzle } from "#services/core/database/client.ts";
import { account, bot, lane, serviceBot } from "#services/core/database/schema/index.ts";
import { HoldReason } from "#services/core/ledger/send.ts";
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

/** Lifts holds that PutBot ends: of a dead token that was replaced, of a duplicate that has a number now. Others stay. */
export async function deleteLanes(db: Queries, botId: number, reasons: HoldReason[]): Promise<void> {
  await db.delete(lane).where(and(eq(lane.botId, botId), inArray(lane.reason, reasons)));
}

/** Whether there are bots whose number is not known yet: any of them may have the one that a call wants. */
export async function someUnread(db: Queries): Promise<boolean> {
  const unread = sql.raw(String(NumberState.unread));
  const rows = await db.select({ id: bot.id }).from(bot).where(sql`${bot.numberState} = ${unread}`).limit(1);
  return rows.length > 0;
}

/** Who has a number: a bot, or nobody. */
export interface NumberHolder {
  id: number;
  tokenSealed: string;
  tokenVersion: number;
}

export async function selectHolder(db: Queries, number: number, besides: number): Promise<NumberHolder | undefined> {
  const [row] = await db
    .select({ id: bot.id, tokenSealed: bot.tokenSealed, tokenVersion: bot.tokenVersion })
    .from(bot)
    .where(and(eq(bot.number, number), ne(bot.id, besides)));
  return row;
}

/** Held until the transaction ends, so that delivery names another service bot before it or after. */
export async function isServiceBot(db: Queries, number: number): Promise<boolean> {
  const [row] = await db.select().from(serviceBot).where(eq(serviceBot.id, 1)).for("share");
  return row?.number === number;
}

/** The bot was put with the token that it has: a lane that stopped because of it asks Telegram about it at once. */
export async function askAboutTokenNow(db: Queries, botId: number): Promise<void> {
  const reasons = [HoldReason.tokenDead, HoldReason.botFault];
  await db
    .update(lane)
    .set({ probeAt: sql`clock_timestamp()` })
    .where(and(eq(lane.botId, botId), inArray(lane.reason, reasons)));
}

/** Whether the account has this bot. */
export async function botBelongsTo(db: Queries, botId: number, accountId: number): Promise<boolean> {
  const rows = await db
    .select({ id: bot.id })
    .from(bot)
    .where(and(eq(bot.id, botId), eq(bot.accountId, accountId)));
  return rows.length > 0;
}
