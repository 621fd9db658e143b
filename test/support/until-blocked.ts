import type { Sql } from "#services/core/database/client.ts";
import { eventually } from "./eventually.ts";

/** Resolves when `waiting` transactions of this database stand at a lock: the moment to let the holder go on. */
export async function untilBlocked(sql: Sql, waiting = 1): Promise<void> {
  await eventually(async () => {
    const rows = await sql`
      SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
    return rows.length >= waiting;
  });
}
