/** Statements about campaigns. */
import { and, count, desc, eq, lt, ne } from "drizzle-orm";
import type { TransactionSql } from "#services/core/database/client.ts";
import { account, campaign, lead } from "#services/core/database/schema/index.ts";
import type { Queries } from "./bot-store.ts";
import { type Campaign, CampaignState } from "./campaign.ts";

/** Held until the transaction ends. */
export async function lockCampaign(db: Queries, id: number): Promise<Campaign | undefined> {
  const [row] = await db.select().from(campaign).where(eq(campaign.id, id)).for("no key update");
  return row;
}

export async function campaignHasLeads(db: Queries, id: number): Promise<boolean> {
  const rows = await db.select({ id: lead.id }).from(lead).where(eq(lead.campaignId, id)).limit(1);
  return rows.length > 0;
}

/** Id 0 assigns one. Fails with a unique violation where somebody else has just made the same campaign. */
export async function insertCampaign(db: Queries, { id, ...values }: Campaign): Promise<Campaign> {
  const [row] = await db
    .insert(campaign)
    .values(id === 0 ? values : { id, ...values })
    .returning();
  return row!;
}

export async function updateCampaign(db: Queries, { id, ...values }: Campaign): Promise<void> {
  await db.update(campaign).set(values).where(eq(campaign.id, id));
}

/** Newest first, those below `beforeId`, without the deleted ones. */
export async function selectCampaigns(
  db: Queries,
  accountId: number,
  { limit, beforeId }: { limit: number; beforeId: number },
): Promise<Campaign[]> {
  const own = eq(campaign.accountId, accountId);
  return await db
    .select()
    .from(campaign)
    .where(and(own, ne(campaign.state, CampaignState.deleted), lt(campaign.id, beforeId)))
    .orderBy(desc(campaign.id))
    .limit(limit);
}

/** How many campaigns the account has that are not deleted. It is held until the transaction ends. */
export async function countCampaignsLocked(db: Queries, accountId: number): Promise<number> {
  await db.select({ id: account.id }).from(account).where(eq(account.id, accountId)).for("no key update");
  const live = and(eq(campaign.accountId, accountId), ne(campaign.state, CampaignState.deleted));
  const [row] = await db.select({ count: count() }).from(campaign).where(live);
  return row!.count;
}

/** The ids that decide who reaches a campaign's leads. */
export interface CampaignBot {
  id: number;
  botId: number;
}

/** A campaign of this account that is not deleted. */
export async function selectCampaignBot(
  tx: TransactionSql,
  campaignId: number,
  accountId: number,
): Promise<CampaignBot | undefined> {
  const [row] = await tx<CampaignBot[]>`
    SELECT id, bot_id AS "botId" FROM campaign
    WHERE id = ${campaignId} AND account_id = ${accountId} AND state <> ${CampaignState.deleted}`;
  return row;
}
