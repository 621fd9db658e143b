import { bigint, pgTable, primaryKey, smallint, text } from "drizzle-orm/pg-core";
import { bytea, id, moment } from "./columns.ts";

/**
 * What is known last of whether a bot reaches a chat. Every lead of that bot and chat has the same in `lead.unreachable`; a
 * chat without a row is as its leads say, since before all times. `second`, `rank`, `tie` and `unreachable` order facts:
 * see services/core/ledger/reachability.ts.
 */
export const reachability = pgTable(
  "reachability",
  {
    botId: id("bot_id").notNull(),
    chatId: id("chat_id").notNull(),
    /** Unix seconds at which it was so. */
    second: id("second").notNull(),
    /** Orders what tells of the same second, within `rank`. */
    tie: id("tie").notNull(),
    rank: smallint("rank").notNull(),
    /** 0 reachable, otherwise a SendReason. */
    unreachable: smallint("unreachable").notNull(),
  },
  (table) => [primaryKey({ columns: [table.botId, table.chatId] })],
);

/**
 * Who has unsubscribed from what, readable with campaign's key alone: a keyed hash of the bot's number, the campaign and the
 * chat. It outlives the lead.
 */
export const optOut = pgTable("opt_out", {
  hash: bytea("hash").primaryKey(),
  /** When the last one came in; null for those of before this was kept. */
  receivedAt: moment("received_at"),
});

/** Ids of leads that were erased, with a keyed hash of campaign and chat: the ledger may still name them. */
export const erasedLead = pgTable("erased_lead", {
  leadId: id("lead_id").primaryKey(),
  hash: bytea("hash").notNull(),
});

/** Secrets that a service makes for itself, sealed with `secret:<name>` as context. */
export const sealedSecret = pgTable("sealed_secret", {
  name: text("name").primaryKey(),
  sealed: text("sealed").notNull(),
});

/** How far work that a start has begun for all rows has come: it goes on there after a crash. */
export const startTask = pgTable("start_task", {
  name: text("name").primaryKey(),
  /** Rows up to this id are done. */
  doneThrough: bigint("done_through", { mode: "number" }).notNull().default(0),
  finishedAt: moment("finished_at"),
});
