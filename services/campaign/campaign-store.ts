/** Statements about campaigns. */
import { and, desc, eq, ne } from "drizzle-orm";
import type { TransactionSql } from "#services/database/client.ts";
import { campaign, lead } from "#services/database/schema/index.ts";
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

/** Newest first, without the deleted ones. */
export async function selectCampaigns(db: Queries, accountId: number): Promise<Campaign[]> {
  return await db
    .select()
    .from(campaign)
    .where(and(eq(campaign.accountId, accountId), ne(campaign.state, CampaignState.deleted)))
    .orderBy(desc(campaign.id));
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
