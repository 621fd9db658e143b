import { noteChange } from "#services/core/audit/record.ts";
import { keepSequenceAhead } from "#services/core/database/assigned-id.ts";
import type { Drizzle, Sql } from "#services/core/database/client.ts";
import { retryCollisions } from "#services/core/database/retry.ts";
import { DomainError, ErrorReason, notYours } from "#services/platform/domain-error.ts";
import { botBelongsTo, type Queries } from "./bot-store.ts";
import { type Campaign, CampaignState, checkCampaignChange } from "./campaign.ts";
import { takeCampaignLockWithDrizzle } from "./campaign-lock.ts";
import {
  campaignHasLeads,
  countCampaignsLocked,
  insertCampaign,
  lockCampaign,
  updateCampaign,
} from "./campaign-store.ts";

/** Creates or replaces a campaign by id; id 0 assigns one. */
export async function putCampaign({ sql, db }: { sql: Sql; db: Drizzle }, wanted: Campaign): Promise<Campaign> {
  await keepSequenceAhead(sql, "campaign", wanted.id);
  return await retryCollisions(() => db.transaction((tx) => putLocked(tx, wanted)));
}

async function putLocked(tx: Queries, wanted: Campaign): Promise<Campaign> {
  if (wanted.id !== 0) await takeCampaignLockWithDrizzle(tx, wanted.id);
  const stored = wanted.id === 0 ? undefined : await lockCampaign(tx, wanted.id);
  if (stored !== undefined && stored.accountId !== wanted.accountId) throw notYours("campaign");
  if (!(await botBelongsTo(tx, wanted.botId, wanted.accountId))) throw notYours("bot");
  if (isLive(wanted) && !isLive(stored)) await requireRoom(tx, wanted.accountId);
  if (stored === undefined) return await createCampaign(tx, wanted);
  // Behind the lock, and a statement of its own: it sees the leads of every PutLeads that came before.
  checkCampaignChange(wanted, stored, await campaignHasLeads(tx, wanted.id));
  await updateCampaign(tx, wanted);
  return wanted;
}

/** More than anybody tracks chats; it bounds every list of campaigns. */
const MAX_CAMPAIGNS = 10_000;

function isLive(campaign: Campaign | undefined): boolean {
  return campaign !== undefined && campaign.state !== CampaignState.deleted;
}

async function requireRoom(tx: Queries, accountId: number): Promise<void> {
  const count = await countCampaignsLocked(tx, accountId);
  if (count < MAX_CAMPAIGNS) return;
  throw new DomainError(
    ErrorReason.LIMIT_REACHED,
    `The account has ${count} campaigns, and ${MAX_CAMPAIGNS} is the most: delete ${count - MAX_CAMPAIGNS + 1} first.`,
  );
}

async function createCampaign(tx: Queries, wanted: Campaign): Promise<Campaign> {
  const created = await insertCampaign(tx, wanted);
  noteChange({ object: { kind: "campaign", id: String(created.id) } });
  return created;
}
