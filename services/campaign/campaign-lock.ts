/**
 * The lock that holds a campaign as it is while its leads are written. Whoever writes leads holds it shared, so that many
 * do at once; who decides something about all of them (may the bot change? is nobody scheduling for this lead?) holds it
 * alone, and then reads.
 *
 * It is an advisory lock rather than the campaign's row FOR SHARE, because row locks are not fair: importers that overlap
 * without a gap would keep an UPDATE of the campaign waiting for as long as they have work.
 */
import { sql } from "drizzle-orm";
import type { TransactionSql } from "#services/core/database/client.ts";
import type { Queries } from "./bot-store.ts";

/** First key of these locks, apart from the gates' single keys; the second is a hash, where a collision only waits. */
const CAMPAIGN_LOCKS = 7_315_003;

/** Held until the transaction ends. */
export async function shareCampaignLock(tx: TransactionSql, campaignId: number): Promise<void> {
  await tx`SELECT pg_advisory_xact_lock_shared(${CAMPAIGN_LOCKS}::int, hashint8(${campaignId}))`;
}

/** Waits for the holders, and keeps newcomers out until the transaction ends. */
export async function takeCampaignLock(tx: TransactionSql, campaignId: number): Promise<void> {
  await tx`SELECT pg_advisory_xact_lock(${CAMPAIGN_LOCKS}::int, hashint8(${campaignId}))`;
}

/** The same in a transaction of drizzle's. */
export async function takeCampaignLockWithDrizzle(tx: Queries, campaignId: number): Promise<void> {
  await tx.execute(sql`SELECT pg_advisory_xact_lock(${CAMPAIGN_LOCKS}::int, hashint8(${campaignId}))`);
}
