/**
 * An independent reading of the contract's sums: it looks at the ledger's rows and says what the counters and quota days
 * would have to be. It shares no query with the product.
 */
import { expect } from "bun:test";
import type { Sql } from "#services/core/database/client.ts";

/**
 * Fails with every row that contradicts another. Looks at one snapshot of the whole database.
 * @param options.quota false where broadcasts were reset or deleted: their rows go, and what they used stays used.
 */
export async function expectConsistent(sql: Sql, options: { quota?: boolean } = {}): Promise<void> {
  const violations = await sql.begin("ISOLATION LEVEL REPEATABLE READ READ ONLY", async (tx) => ({
    counters: [...(await tx.unsafe(wrongCounters))],
    quota: options.quota === false ? [] : [...(await tx.unsafe(wrongQuota))],
    sends: [...(await tx.unsafe(wrongSends))],
    broadcasts: [...(await tx.unsafe(wrongBroadcasts))],
  }));
  expect(violations).toEqual({ counters: [], quota: [], sends: [], broadcasts: [] });
}

/** Live sources: present generations of broadcasts, and blocks. A queued row of a run that is not open is dropped. */
const wrongCounters = `
  WITH source AS (
    SELECT source_id, CASE WHEN state IN (1, 4) THEN run END AS open_run FROM broadcast
    UNION ALL SELECT source_id, 0 FROM block),
  row_sum AS (
    SELECT s.source_id, count(*) AS enqueued, count(*) FILTER (WHERE s.state = 1) AS sending,
      count(*) FILTER (WHERE s.state = 2) AS sent, count(*) FILTER (WHERE s.state = 3) AS failed,
      count(*) FILTER (WHERE s.state = 4) AS unconfirmed,
      count(*) FILTER (WHERE s.state = 5 OR (s.state = 0 AND s.run IS DISTINCT FROM source.open_run)) AS dropped
    FROM send s JOIN source USING (source_id) GROUP BY s.source_id),
  counted AS (
    SELECT source_id, sum(enqueued) AS enqueued, sum(sending) AS sending, sum(sent) AS sent, sum(failed) AS failed,
      sum(unconfirmed) AS unconfirmed, sum(dropped) AS dropped
    FROM send_counter JOIN source USING (source_id) GROUP BY source_id)
  SELECT source_id, to_jsonb(r) AS rows, to_jsonb(c) AS counters FROM row_sum r FULL JOIN counted c USING (source_id)
  WHERE (coalesce(r.enqueued, 0), coalesce(r.sending, 0), coalesce(r.sent, 0), coalesce(r.failed, 0),
      coalesce(r.unconfirmed, 0), coalesce(r.dropped, 0))
    IS DISTINCT FROM (coalesce(c.enqueued, 0), coalesce(c.sending, 0), coalesce(c.sent, 0), coalesce(c.failed, 0),
      coalesce(c.unconfirmed, 0), coalesce(c.dropped, 0))`;

/**
 * Claimed manual messages that were not given back, by the account's day; never above the cap. Those in doubt because the
 * database was restored (reason 45) need never have been claimed in this one.
 */
const wrongQuota = `
  WITH taken AS (
    SELECT b.account_id, s.quota_day AS day, count(*) AS used FROM send s JOIN bot b ON b.id = s.bot_id
    WHERE s.kind = 1 AND s.state IN (1, 2, 4) AND s.reason <> 45 GROUP BY 1, 2)
  SELECT account_id, day, t.used AS rows, q.used AS counted, tariff.daily_cap
  FROM taken t FULL JOIN quota_day q USING (account_id, day)
  JOIN account a ON a.id = account_id JOIN tariff ON tariff.id = a.tariff_id
  WHERE coalesce(t.used, 0) <> coalesce(q.used, 0) OR (daily_cap > 0 AND q.used > daily_cap)`;

/** What each state says of a row's other columns. */
const wrongSends = `
  SELECT source_id, lead_id, entry, state FROM send
  WHERE (state IN (1, 2, 4)) AND reason <> 45 AND (claim_token IS NULL OR (kind = 1) <> (quota_day IS NOT NULL))
    OR state = 1 AND (rescue_at IS NULL OR settled_at IS NOT NULL)
    OR (state IN (2, 3, 4, 5)) <> (settled_at IS NOT NULL)
    OR (message_id IS NOT NULL AND state <> 2)
    OR state NOT BETWEEN 0 AND 5
    OR state = 2 AND reason <> 0
    OR state IN (3, 4, 5) AND reason = 0`;

const wrongBroadcasts = `
  SELECT b.id, b.state, b.run, s.state AS send, s.run AS send_run, count(*) FROM broadcast b JOIN send s USING (source_id)
  WHERE b.state = 0 OR s.run > b.run OR (b.state = 2 AND (s.state = 1 OR (s.state = 0 AND s.run = b.run)))
  GROUP BY 1, 2, 3, 4, 5`;
