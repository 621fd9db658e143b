import { type Clock, systemClock } from "#services/platform/clock.ts";
import type { Sql } from "./client.ts";

/** Longer than any healthy answer, shorter than what a balancer waits for. */
const PING_TIMEOUT_MS = 2_000;

/** Whether Postgres answers now; for health. Never rejects, and is no later than two seconds. */
export async function pingDatabase(sql: Sql, clock: Clock = systemClock): Promise<boolean> {
  const answered = new AbortController();
  const answer = sql`SELECT 1`.then(
    () => true,
    () => false,
  );
  try {
    return await Promise.race([answer, clock.sleep(PING_TIMEOUT_MS, answered.signal).then(() => false)]);
  } finally {
    answered.abort();
  }
}
