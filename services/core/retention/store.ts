import type { Sql } from "#services/core/database/client.ts";
import { inTransaction } from "#services/core/ledger/transaction.ts";

/** Rows in one transaction. */
const SMALL_BATCH = 500;
/** Media have chunks: 50 MB each at most. */
const MEDIA_BATCH = 10;

const MEDIA_DAYS = 7;
const QUOTA_DAYS = 90;

export async function deleteExpiredSessions(sql: Sql): Promise<boolean> {
  const result = await sql`
    DELETE FROM session WHERE token_hash = ANY(ARRAY(
      SELECT token_hash FROM session WHERE expires_at < now() ORDER BY expires_at LIMIT ${SMALL_BATCH}
      FOR UPDATE SKIP LOCKED))`;
  return result.count === SMALL_BATCH;
}

/**
 * Whoever saves a body touches its media first (see checkMediaRef), so what was not touched for long is in nobody's hands;
 * a touch at this very moment either comes first and keeps the row, or finds it gone and refuses the body.
 */
export async function deleteUnusedMedia(sql: Sql): Promise<boolean> {
  return await inTransaction(sql, async (tx) => {
    const old = await tx<{ ref: string }[]>`
      SELECT m.ref FROM media m WHERE m.touched_at < now() - ${MEDIA_DAYS} * interval '1 day'
        AND NOT EXISTS (SELECT FROM broadcast b WHERE b.media = m.ref)
        AND NOT EXISTS (SELECT FROM block k WHERE k.media = m.ref)
      ORDER BY m.touched_at LIMIT ${MEDIA_BATCH} FOR UPDATE SKIP LOCKED`;
    if (old.length === 0) return false;
    await tx`
      WITH gone AS (
        DELETE FROM media m WHERE m.ref = ANY(${old.map(({ ref }) => ref)}::text[])
          AND NOT EXISTS (SELECT FROM broadcast b WHERE b.media = m.ref)
          AND NOT EXISTS (SELECT FROM block k WHERE k.media = m.ref)
        RETURNING m.account_id, m.size)
      UPDATE media_usage u SET bytes = u.bytes - k.bytes
      FROM (SELECT account_id, sum(size) AS bytes FROM gone GROUP BY account_id) AS k WHERE u.account_id = k.account_id`;
    return old.length === MEDIA_BATCH;
  });
}

export async function deleteOldQuotaDays(sql: Sql): Promise<boolean> {
  const result = await sql`
    DELETE FROM quota_day WHERE ctid = ANY(ARRAY(
      SELECT ctid FROM quota_day WHERE day < current_date - ${QUOTA_DAYS}::int LIMIT ${SMALL_BATCH}
      FOR UPDATE SKIP LOCKED))`;
  return result.count === SMALL_BATCH;
}

export async function deletePastHolds(sql: Sql): Promise<boolean> {
  const result = await sql`
    DELETE FROM lane WHERE ctid = ANY(ARRAY(
      SELECT ctid FROM lane WHERE hold_until < now() - interval '1 day' LIMIT ${SMALL_BATCH}
      FOR UPDATE SKIP LOCKED))`;
  return result.count === SMALL_BATCH;
}
