import { integer, pgTable, primaryKey, smallint, text, uniqueIndex } from "drizzle-orm/pg-core";
import { account } from "./account.ts";
import { bot } from "./campaign.ts";
import { bytea, id, moment } from "./columns.ts";

/** A photo or video that an account has uploaded. */
export const media = pgTable(
  "media",
  {
    /** Random: nobody can guess another account's. */
    ref: text("ref").primaryKey(),
    accountId: id("account_id")
      .notNull()
      .references(() => account.id),
    /** Of the whole file. */
    sha256: bytea("sha256").notNull(),
    /** In bytes. */
    size: id("size").notNull(),
    createdAt: moment("created_at").notNull().defaultNow(),
    /** When it was last uploaded or saved in a body: what nobody has touched for long, and nothing uses, is deleted. */
    touchedAt: moment("touched_at").notNull().defaultNow(),
    width: integer("width").notNull(),
    height: integer("height").notNull(),
    /** 1 photo, 2 video. */
    mediaType: smallint("media_type").notNull(),
    mimeType: text("mime_type").notNull(),
  },
  // The same bytes again are the same file, also when they are uploaded side by side.
  (table) => [uniqueIndex("media_account_sha256").on(table.accountId, table.sha256)],
);

/** A file's bytes in pieces, so that nobody ever has to hold all of them. */
export const mediaChunk = pgTable(
  "media_chunk",
  {
    mediaRef: text("media_ref")
      .notNull()
      .references(() => media.ref, { onDelete: "cascade" }),
    /** From 0. */
    n: integer("n").notNull(),
    bytes: bytea("bytes").notNull(),
  },
  (table) => [primaryKey({ columns: [table.mediaRef, table.n] })],
);

/** Bytes that an account keeps: the sum over its media, in a row that uploads side by side meet at. */
export const mediaUsage = pgTable("media_usage", {
  accountId: id("account_id")
    .primaryKey()
    .references(() => account.id),
  bytes: id("bytes").notNull(),
});

/** What the Bot API calls a file, for each bot: a file_id is valid only for the bot that made it. */
export const mediaFile = pgTable(
  "media_file",
  {
    botId: id("bot_id")
      .notNull()
      .references(() => bot.id),
    mediaRef: text("media_ref")
      .notNull()
      .references(() => media.ref, { onDelete: "cascade" }),
    /** Null while there is none. */
    fileId: text("file_id"),
    /** Who uploads it, until then at the latest; both null while nobody does. */
    uploader: text("uploader"),
    uploadingUntil: moment("uploading_until"),
    /** When a file_id that stopped working was last dropped. */
    droppedAt: moment("dropped_at"),
    /** Counts the uploads that were begun. */
    version: integer("version").notNull().default(1),
  },
  (table) => [primaryKey({ columns: [table.botId, table.mediaRef] })],
);
