import { sql } from "drizzle-orm";
import { index, integer, pgTable, primaryKey, text, uuid } from "drizzle-orm/pg-core";
import { id, moment } from "./columns.ts";

/**
 * Who changed what: see services/core/audit/record.ts. Partitioned by month of `at` (services/core/audit/partitions.ts); the migration has
 * that by hand, for drizzle knows no partitions.
 */
export const auditEntry = pgTable(
  "audit_entry",
  {
    /** When; for an entry that adds up, the minute's begin. */
    at: moment("at").notNull(),
    /** Null where the call names no account. */
    accountId: id("account_id"),
    id: uuid("id").notNull(),
    /** Parts of one entry, which readers add up: see record.ts. */
    slot: integer("slot").notNull(),
    calls: integer("calls").notNull(),
    changes: integer("changes").notNull(),
    /** Name of the service token; empty where none was valid. */
    token: text("token").notNull(),
    /** Names a session without opening it; empty where none was used. */
    session: text("session").notNull(),
    /** Null when it is not known, or after 30 days. */
    address: text("address"),
    /** `package.Service/Method`. */
    call: text("call").notNull(),
    /** What it was done to: a kind and an id, and never a chat or a text. */
    objectKind: text("object_kind").notNull(),
    objectId: text("object_id").notNull(),
    /** `ok`, `begun`, `unknown`, or why it was refused. */
    outcome: text("outcome").notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.at, table.id, table.slot] }),
    // Newest first, for one account or one call.
    index("audit_entry_account").on(table.accountId, table.at, table.id),
    index("audit_entry_call").on(table.call, table.at, table.id),
    // Addresses that have to go; in an upsert nothing of it changes, so those stay HOT.
    index("audit_entry_address").on(table.at).where(sql`address IS NOT NULL`),
  ],
);
