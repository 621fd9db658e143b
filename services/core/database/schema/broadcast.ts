import { sql } from "drizzle-orm";
import { index, integer, jsonb, pgTable, primaryKey, smallint, text, uniqueIndex } from "drizzle-orm/pg-core";
import { account } from "./account.ts";
import { campaign } from "./campaign.ts";
import { id, moment } from "./columns.ts";

export const broadcast = pgTable(
  "broadcast",
  {
    id: id("id").primaryKey().generatedByDefaultAsIdentity(),
    accountId: id("account_id")
      .notNull()
      .references(() => account.id),
    name: text("name").notNull().default(""),
    /** 0 draft, 1 running, 2 done, 3 cancelled, 4 paused: the numbers of the REST reference. */
    state: smallint("state").notNull().default(0),
    /** The ledger's source of the current generation; Reset takes a new one. */
    sourceId: id("source_id").notNull(),
    /** Counts Starts over all generations; open while running or paused. */
    run: integer("run").notNull().default(0),
    /** Rises with Pause and Resume, so that the relay forgets what it had published before. */
    epoch: integer("epoch").notNull().default(0),
    /** Bitmask of lead statuses, bit 0 wait … bit 4 trash. */
    statuses: smallint("statuses").notNull().default(0),
    createdFrom: moment("created_from"),
    createdTo: moment("created_to"),
    statusFrom: moment("status_from"),
    statusTo: moment("status_to"),
    /** Rises with every change of the body. */
    revision: integer("revision").notNull().default(1),
    text: text("text").notNull().default(""),
    /** `text` parsed at save: {text, entities}. */
    parsed: jsonb("parsed").notNull().default({ text: "", entities: [] }),
    media: text("media").notNull().default(""),
    mediaType: smallint("media_type").notNull().default(0),
    button: text("button").notNull().default(""),
    link: text("link").notNull().default(""),
    /** Size of the live audience at the last Start. */
    total: id("total").notNull().default(0),
    startedAt: moment("started_at"),
    createdAt: moment("created_at").notNull().defaultNow(),
    /** Why the system paused it by itself; empty if it did not. */
    pauseReason: text("pause_reason").notNull().default(""),
    /** The newest revision of the body that the Bot API has accepted for some lead; 0 for none. */
    acceptedRevision: integer("accepted_revision").notNull().default(0),
    /** The revision that body faults were last counted for, and for how many leads. */
    faultRevision: integer("fault_revision").notNull().default(0),
    faultLeads: integer("fault_leads").notNull().default(0),
    /** The Bot API's words for the last of them. */
    faultWords: text("fault_words").notNull().default(""),
    /** The run whose owner resumed it although a bot was at fault, and the words that are its leads' since; one a line. */
    excusedRun: integer("excused_run").notNull().default(0),
    excusedWords: text("excused_words").notNull().default(""),
  },
  (table) => [
    // The list, newest first.
    index("broadcast_account").on(table.accountId, table.id.desc()),
    // From a send to its broadcast.
    uniqueIndex("broadcast_source").on(table.sourceId),
    // The relay and the sweep look at the few that are open.
    index("broadcast_open").on(table.state).where(sql`state IN (1, 4)`),
  ],
);

/** The campaign scope; no row means all of the account's campaigns. */
export const broadcastCampaign = pgTable(
  "broadcast_campaign",
  {
    broadcastId: id("broadcast_id")
      .notNull()
      .references(() => broadcast.id, { onDelete: "cascade" }),
    campaignId: id("campaign_id")
      .notNull()
      .references(() => campaign.id),
  },
  (table) => [primaryKey({ columns: [table.broadcastId, table.campaignId] })],
);
