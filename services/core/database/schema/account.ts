import { boolean, index, integer, pgTable, text } from "drizzle-orm/pg-core";
import { bytea, id, moment } from "./columns.ts";

export const tariff = pgTable("tariff", {
  id: id("id").primaryKey().generatedByDefaultAsIdentity(),
  name: text("name").notNull(),
  /** Whether blocks may be turned on and broadcasts started. */
  broadcasts: boolean("broadcasts").notNull(),
  /** Manual messages per UTC day; 0 is unlimited. */
  dailyCap: integer("daily_cap").notNull(),
  /** Broadcasts that an account may have, in all states. */
  maxBroadcasts: integer("max_broadcasts").notNull().default(1_000),
});

export const account = pgTable("account", {
  id: id("id").primaryKey().generatedByDefaultAsIdentity(),
  name: text("name").notNull(),
  tariffId: id("tariff_id")
    .notNull()
    .references(() => tariff.id),
  /** Active until then; null means not active. */
  paidUntil: moment("paid_until"),
  /** The private chat with the service bot; 0 while none is linked. */
  telegramChatId: id("telegram_chat_id").notNull().default(0),
});

export const session = pgTable(
  "session",
  {
    /** SHA-256 of the token: a copy of the table opens nothing. */
    tokenHash: bytea("token_hash").primaryKey(),
    accountId: id("account_id")
      .notNull()
      .references(() => account.id),
    expiresAt: moment("expires_at").notNull(),
    /** Null for those that were opened before it was noted. */
    createdAt: moment("created_at"),
    /** To the second; in no index, so that noting it is HOT. */
    lastUsedAt: moment("last_used_at"),
  },
  (table) => [
    // Expired sessions are found and deleted in batches.
    index("session_expires_at").on(table.expiresAt),
    index("session_account").on(table.accountId),
  ],
);
