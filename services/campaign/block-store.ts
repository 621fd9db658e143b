/** Statements about triggered blocks. */
import { and, eq, ne, sql } from "drizzle-orm";
import { block, campaign } from "#services/core/database/schema/index.ts";
import type { MessageBody } from "#services/core/message/body.ts";
import type { ParsedText } from "#services/core/message/markdown.ts";
import type { Block } from "./block.ts";
import type { Queries } from "./bot-store.ts";
import { CampaignState } from "./campaign.ts";

type BlockRow = typeof block.$inferSelect;

/** Whether the account has this campaign, and it is not deleted. */
export async function campaignBelongsTo(db: Queries, campaignId: number, accountId: number): Promise<boolean> {
  const rows = await db.select({ id: campaign.id }).from(campaign).where(ownCampaign(campaignId, accountId));
  return rows.length > 0;
}

function ownCampaign(campaignId: number, accountId: number) {
  return and(eq(campaign.id, campaignId), eq(campaign.accountId, accountId), ne(campaign.state, CampaignState.deleted));
}

export async function selectBlocks(db: Queries, campaignId: number): Promise<Block[]> {
  const rows = await db.select().from(block).where(eq(block.campaignId, campaignId));
  return rows.map(blockFromRow);
}

/** Held until the transaction ends. */
export async function lockBlock(db: Queries, campaignId: number, status: number): Promise<Block | undefined> {
  const [row] = await db.select().from(block).where(blockKey(campaignId, status)).for("no key update");
  return row && blockFromRow(row);
}

/** Makes the zero block with a ledger source of its own; does nothing where there is a block already. */
export async function insertZeroBlock(db: Queries, campaignId: number, status: number): Promise<void> {
  await db.insert(block).values({ campaignId, status, sourceId: sql`nextval('source_id_seq')` }).onConflictDoNothing();
}

/** Stores a block; `newBody` raises its revision, so that what the Bot API said of the old body no longer counts. */
export async function updateBlock(
  db: Queries,
  campaignId: number,
  { status, on, delaySeconds, body }: Block,
  { parsed, newBody }: { parsed: ParsedText; newBody: boolean },
): Promise<void> {
  await db
    .update(block)
    .set({ on, delaySeconds, ...body, parsed, ...(newBody && { revision: sql`${block.revision} + 1` }) })
    .where(blockKey(campaignId, status));
}

function blockKey(campaignId: number, status: number) {
  return and(eq(block.campaignId, campaignId), eq(block.status, status));
}

function blockFromRow(row: BlockRow): Block {
  const { status, on, delaySeconds, text, media, button, link } = row;
  return {
    status,
    on,
    delaySeconds,
    body: { text, media, mediaType: row.mediaType as MessageBody["mediaType"], button, link },
  };
}
