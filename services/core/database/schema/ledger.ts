import { sql } from "drizzle-orm";
import { date, index, integer, pgSequence, pgTable, primaryKey, smallint, text } from "drizzle-orm/pg-core";
import { id, moment } from "./columns.ts";

/**
 * One sequence names every source of sends: a generation of a broadcast or a block. So one ledger, one claim and one
 * settle serve both kinds of message.
 */
export const sourceSequence = pgSequence("source_id_seq");

/**
 * The ledger: one row per lead of a broadcast's generation, and one per entry into a status that is followed up. States
 * and their transitions are described in services/core/ledger/send.ts. Columns are ordered by width: a million rows are
 * written in one statement.
 */
export const send = pgTable(
  "send",
  {
    sourceId: id("source_id").notNull(),
    leadId: id("lead_id").notNull(),
    botId: id("bot_id").notNull(),
    /** Names one claim; settle matches it. Null before the first. */
    claimToken: id("claim_token"),
    /** Not before then. Null for "at once". */
    dueAt: moment("due_at"),
    /** When a claim whose owner is silent is rescued. */
    rescueAt: moment("rescue_at"),
    settledAt: moment("settled_at"),
    /** Telegram's message_id of the accepted message. */
    messageId: id("message_id"),
    /** The lead's entry into the status; 0 for broadcasts. */
    entry: integer("entry").notNull().default(0),
    /** The run that a queued row belongs to; one of a closed run counts as dropped. */
    run: integer("run").notNull().default(0),
    /** The body's revision that was last tried. */
    revision: integer("revision").notNull().default(0),
    /** The body's revision that the Bot API refused for this lead, while it waits for another; 0 for none. */
    faultRevision: integer("fault_revision").notNull().default(0),
    /** The UTC day whose quota the claim took from. */
    quotaDay: date("quota_day", { mode: "string" }),
    kind: smallint("kind").notNull(),
    state: smallint("state").notNull().default(0),
    /** A SendReason. */
    reason: smallint("reason").notNull().default(0),
    attempts: smallint("attempts").notNull().default(0),
  },
  (table) => [
    primaryKey({ columns: [table.sourceId, table.leadId, table.entry] }),
    // What the relay publishes next for one broadcast and bot; rows that a Cancel has left behind are in another run.
    index("send_queued").on(table.sourceId, table.botId, table.run, table.leadId).where(sql`state = 0 AND kind = 1`),
    // What is due of one bot's follow-ups: a scan that begins at the oldest and ends at now, whatever is scheduled later.
    index("send_due").on(table.botId, table.dueAt).where(sql`state = 0 AND kind = 2`),
    // Old follow-ups, for retention. Broadcasts' rows go with their generation and do not pay for this.
    index("send_settled_follow_up").on(table.settledAt).where(sql`kind = 2 AND state >= 2`),
    // What may have to be rescued: as many rows as are on the wire.
    index("send_sending").on(table.rescueAt).where(sql`state = 1`),
  ],
);

/**
 * How many leads of a source stand where; the sum over its slots is the truth, and one slot alone may be negative. A
 * claim, settle or rescue writes one slot, that of one shard among its bots', so that replicas do not share a hot row.
 * Life-cycle calls, imports and erasures write slot −1.
 */
export const sendCounter = pgTable(
  "send_counter",
  {
    sourceId: id("source_id").notNull(),
    slot: smallint("slot").notNull(),
    enqueued: id("enqueued").notNull().default(0),
    sending: id("sending").notNull().default(0),
    sent: id("sent").notNull().default(0),
    failed: id("failed").notNull().default(0),
    unconfirmed: id("unconfirmed").notNull().default(0),
    dropped: id("dropped").notNull().default(0),
  },
  (table) => [primaryKey({ columns: [table.sourceId, table.slot] })],
);

/** Sources whose generation has ended: their rows are deleted in the background. */
export const retiredSource = pgTable("retired_source", {
  sourceId: id("source_id").primaryKey(),
  retiredAt: moment("retired_at").notNull().defaultNow(),
});

/** Manual messages claimed in one UTC day. */
export const quotaDay = pgTable(
  "quota_day",
  {
    accountId: id("account_id").notNull(),
    day: date("day", { mode: "string" }).notNull(),
    used: integer("used").notNull().default(0),
  },
  (table) => [primaryKey({ columns: [table.accountId, table.day] })],
);

/**
 * Why bots may not send now: a row for each bot and reason; bot 0 stands for all. No row: nothing is in the way. Each reason
 * has a life of its own, so that lifting one never hides or lifts another.
 */
export const lane = pgTable(
  "lane",
  {
    botId: id("bot_id").notNull(),
    /** Nothing is sent before then; null: until `reason` is dealt with. */
    holdUntil: moment("hold_until"),
    since: moment("since").notNull().defaultNow(),
    /** Breakers and bots at fault: no message is tried before then. Dead tokens: when it is asked about again. */
    probeAt: moment("probe_at"),
    /** When the last try in vain was. */
    triedAt: moment("tried_at"),
    /** The token's version that was found dead. */
    tokenVersion: integer("token_version").notNull().default(0),
    /** A HoldReason. */
    reason: smallint("reason").notNull(),
    /** Tries in vain since the hold began, or since the last one that was not. */
    probes: smallint("probes").notNull().default(0),
    /** Messages accepted in a row while a breaker is half-open. */
    accepted: smallint("accepted").notNull().default(0),
    /** For people. */
    message: text("message").notNull().default(""),
    /** A bot at fault: what all its refusals have in common. */
    words: text("words").notNull().default(""),
  },
  (table) => [primaryKey({ columns: [table.botId, table.reason] })],
);

/**
 * Leads that were refused in words that may be the bot's fault, with no accepted send of that bot since; and those that
 * were taken back from `failed`. See services/core/ledger/fault-streak.ts.
 */
export const botRefusal = pgTable(
  "bot_refusal",
  {
    botId: id("bot_id").notNull(),
    sourceId: id("source_id").notNull(),
    leadId: id("lead_id").notNull(),
    chatId: id("chat_id").notNull(),
    refusedAt: moment("refused_at").notNull().defaultNow(),
    entry: integer("entry").notNull(),
    /** A RefusalState. */
    state: smallint("state").notNull().default(0),
    /** Normalised status and words. */
    words: text("words").notNull(),
  },
  (table) => [primaryKey({ columns: [table.botId, table.words, table.sourceId, table.leadId, table.entry] })],
);

/** Live replicas of relay (role 1) and delivery (role 2): how many share the shards. */
export const replica = pgTable(
  "replica",
  {
    role: smallint("role").notNull(),
    name: text("name").notNull(),
    expiresAt: moment("expires_at").notNull(),
  },
  (table) => [primaryKey({ columns: [table.role, table.name] })],
);

/** Who owns a shard. `fence` rises with every change of owner; a claim is made under the fence it was told. */
export const shardLease = pgTable(
  "shard_lease",
  {
    role: smallint("role").notNull(),
    shard: smallint("shard").notNull(),
    owner: text("owner"),
    fence: id("fence").notNull().default(0),
    expiresAt: moment("expires_at"),
  },
  (table) => [primaryKey({ columns: [table.role, table.shard] })],
);

/** Which database delivery has worked with; see services/delivery/restore.ts. One row. */
export const databaseIdentity = pgTable("database_identity", {
  id: smallint("id").primaryKey(),
  identity: text("identity").notNull(),
});

/** When an account last had a preview: at most one in a while, whichever replica is asked. */
export const previewTurn = pgTable("preview_turn", {
  accountId: id("account_id").primaryKey(),
  takenAt: moment("taken_at").notNull(),
});
