import { noteChange } from "#services/audit/record.ts";
import { keepSequenceAhead } from "#services/database/assigned-id.ts";
import type { Drizzle, Sql } from "#services/database/client.ts";
import { retryCollisions } from "#services/database/retry.ts";
import { notYours } from "#services/platform/domain-error.ts";
import { botBelongsTo, type Queries } from "./bot-store.ts";
import { type Campaign, checkCampaignChange } from "./campaign.ts";
import { takeCampaignLockWithDrizzle } from "./campaign-lock.ts";
import { campaignHasLeads, insertCampaign, lockCampaign, updateCampaign } from "./campaign-store.ts";

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
  if (stored === undefined) return await createCampaign(tx, wanted);
  // Behind the lock, and a statement of its own: it sees the leads of every PutLeads that came before.
  checkCampaignChange(wanted, stored, await campaignHasLeads(tx, wanted.id));
  await updateCampaign(tx, wanted);
  return wanted;
}

async function createCampaign(tx: Queries, wanted: Campaign): Promise<Campaign> {
  const created = await insertCampaign(tx, wanted);
  noteChange({ object: { kind: "campaign", id: String(created.id) } });
  return created;
}
