import type { Queries } from "./bot-store.ts";
import type { Campaign } from "./campaign.ts";
import { selectCampaigns } from "./campaign-store.ts";

/** Campaigns in one page at most, and if none is asked for. */
const MAX_PAGE = 500;

export interface CampaignPage {
  /** Newest first. */
  campaigns: Campaign[];
  /** Where the next page begins; 0 if there is nothing more. */
  nextBeforeId: number;
}

/** The account's campaigns with ids below `beforeId` (0: from the newest on), `limit` at most (0: a page). */
export async function listCampaigns(
  db: Queries,
  accountId: number,
  { limit, beforeId }: { limit: number; beforeId: number },
): Promise<CampaignPage> {
  const asked = Math.min(limit || MAX_PAGE, MAX_PAGE);
  // One more says whether there is a next page.
  const found = await selectCampaigns(db, accountId, {
    limit: asked + 1,
    beforeId: beforeId || Number.MAX_SAFE_INTEGER,
  });
  const campaigns = found.slice(0, asked);
  return { campaigns, nextBeforeId: found.length > asked ? campaigns.at(-1)!.id : 0 };
}
