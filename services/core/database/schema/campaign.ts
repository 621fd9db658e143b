import { sql } from "drizzle-orm";
import {
  bigint,
  boolean,
  check,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  smallint,
  text,
  uniqueIndex,
} from "drizzle-orm/pg-core";
import { account } from "./account.ts";
import { id, moment } from "./columns.ts";

export const bot = pgTable(
  "bot",
  {
    id: id("id").primaryKey().generatedByDefaultAsIdentity(),
    accountId: id("account_id")
      .notNull()
      .references(() => account.id),
    username: text("username").notNull(),
    /** The Bot API token, sealed with the bot's id as context. */
    tokenSealed: text("token_sealed").notNull(),
    /** Rises with every replaced token: a lane that stopped on a dead token compares it. */
    tokenVersion: integer("token_version").notNull().default(1),
    messagesPerSecond: integer("messages_per_second").notNull().default(30),
    /** What Telegram sends back in its secret-token header, as it was stored before it was sealed; empty since. */
    webhookSecret: text("webhook_secret").notNull().default(""),
    /** The same, sealed with the bot's id as context. Null until campaign has sealed the plain one. */
    webhookSecretSealed: text("webhook_secret_sealed"),
    /** The one before, which counts as well; null while there was no rotation. */
    webhookFormerSealed: text("webhook_former_sealed"),
    /** The former one counts until then; null for as long as Telegram may not know the new one. */
    webhookFormerUntil: moment("webhook_former_until"),
    /** Rises with every new secret. */
    webhookVersion: integer("webhook_version").notNull().default(1),
    /** Telegram's number of the bot, which no two bots have; null for one that has none of its own. */
    number: id("number").unique("bot_number"),
    /** A NumberState: see services/core/bot/number.ts. */
    numberState: smallint("number_state").notNull().default(0),
    /** Numbers that it had before: opt-outs are remembered under them. */
    formerNumbers: bigint("former_numbers", { mode: "number" }).array().notNull().default([]),
  },
  (table) => [
    index("bot_account").on(table.accountId),
    // Those whose number has not been read yet: none, but for a moment after an update of ours.
    index("bot_unread").on(table.id).where(sql`number_state = 0`),
    check("bot_number_own", sql`(number IS NOT NULL) = (number_state = 1)`),
  ],
);

/** The number of the bot that sends previews, written by delivery; null before its first start. One row. */
export const serviceBot = pgTable("service_bot", {
  id: smallint("id").primaryKey(),
  number: id("number"),
});

/** `state`: 1 live, 2 paused, 3 deleted, as in CampaignState. */
export const campaign = pgTable(
  "campaign",
  {
    id: id("id").primaryKey().generatedByDefaultAsIdentity(),
    accountId: id("account_id")
      .notNull()
      .references(() => account.id),
    botId: id("bot_id")
      .notNull()
      .references(() => bot.id),
    name: text("name").notNull(),
    code: text("code").notNull(),
    trackedChatId: id("tracked_chat_id").notNull().default(0),
    state: smallint("state").notNull().default(1),
  },
  (table) => [index("campaign_account").on(table.accountId), index("campaign_bot").on(table.botId)],
);

export const lead = pgTable(
  "lead",
  {
    id: id("id").primaryKey().generatedByDefaultAsIdentity(),
    campaignId: id("campaign_id")
      .notNull()
      .references(() => campaign.id),
    /** The campaign's bot: a campaign that has leads keeps it, so it can stand here, where sending needs it. */
    botId: id("bot_id").notNull(),
    chatId: id("chat_id").notNull(),
    /** 0 wait, 1 hold, 2 approve, 3 cancel, 4 trash: the bit of the audience's mask. */
    status: smallint("status").notNull(),
    statusTime: moment("status_time").notNull(),
    createdTime: moment("created_time").notNull(),
    /** Counts the lead's entries into statuses; names the entry that a follow-up belongs to. */
    entry: integer("entry").notNull().default(1),
    /** 0 reachable, otherwise the SendReason that says why the chat cannot be messaged. */
    unreachable: smallint("unreachable").notNull().default(0),
    optedOut: boolean("opted_out").notNull().default(false),
    click: text("click").notNull().default(""),
    userName: text("user_name").notNull().default(""),
    subscriber: text("subscriber").notNull().default(""),
    username: text("username").notNull().default(""),
  },
  (table) => [
    // One lead per person and campaign: what makes PutLeads without ids repeatable.
    uniqueIndex("lead_campaign_chat").on(table.campaignId, table.chatId),
    // A block or unblock touches every lead of that bot and chat.
    index("lead_bot_chat").on(table.botId, table.chatId),
    // The audience: counted from the index alone, windows included.
    index("lead_audience")
      .on(table.campaignId, table.status, table.id, table.statusTime, table.createdTime)
      .where(sql`unreachable = 0 AND NOT opted_out`),
  ],
);

export const block = pgTable(
  "block",
  {
    campaignId: id("campaign_id")
      .notNull()
      .references(() => campaign.id),
    status: smallint("status").notNull(),
    /** The ledger's source of this block's follow-ups. */
    sourceId: id("source_id").notNull(),
    on: boolean("on").notNull().default(false),
    delaySeconds: integer("delay_seconds").notNull().default(0),
    revision: integer("revision").notNull().default(1),
    text: text("text").notNull().default(""),
    /** `text` parsed at save: {text, entities}. */
    parsed: jsonb("parsed").notNull().default({ text: "", entities: [] }),
    media: text("media").notNull().default(""),
    mediaType: smallint("media_type").notNull().default(0),
    button: text("button").notNull().default(""),
    link: text("link").notNull().default(""),
  },
  (table) => [
    primaryKey({ columns: [table.campaignId, table.status] }),
    uniqueIndex("block_source").on(table.sourceId),
  ],
);
