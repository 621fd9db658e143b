import { DomainError, ErrorReason, notYours } from "#services/platform/domain-error.ts";

export { CampaignState } from "#services/core/ledger/source.ts";

/** One bot and one tracked chat. */
export interface Campaign {
  /** 0 assigns one. */
  id: number;
  accountId: number;
  botId: number;
  name: string;
  code: string;
  /** 0 for none. */
  trackedChatId: number;
  state: number;
}

/** Refuses what an upsert may not change about a stored campaign: its account, and under leads its bot. */
export function checkCampaignChange(wanted: Campaign, stored: Campaign, hasLeads: boolean): void {
  if (stored.accountId !== wanted.accountId) throw notYours("campaign");
  if (stored.botId === wanted.botId || !hasLeads) return;
  throw new DomainError(
    ErrorReason.WRONG_STATE,
    "The campaign has leads, who know only its present bot: keep the bot, or make a new campaign.",
    { field: "campaign.bot_id" },
  );
}
