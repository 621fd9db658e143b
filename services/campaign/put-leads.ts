import { noteChange } from "#services/core/audit/record.ts";
import { keepSequenceAhead } from "#services/core/database/assigned-id.ts";
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { constraintOf, retryCollisions } from "#services/core/database/retry.ts";
import { showFacts } from "#services/core/ledger/reachability.ts";
import { type LeadEntry, scheduleFollowUps } from "#services/core/ledger/schedule.ts";
import { notYours } from "#services/platform/domain-error.ts";
import { shareCampaignLock } from "./campaign-lock.ts";
import { selectCampaignBot } from "./campaign-store.ts";
import { type LeadInput, matchIds, takenId } from "./lead.ts";
import {
  type LeadRef,
  leadExists,
  selectCampaignOfLead,
  selectLeadIds,
  selectTakenIds,
  updateLeadStatus,
  upsertLeads,
  type WrittenLead,
} from "./lead-store.ts";
import { type PeopleContext, recallPeople } from "./opt-out.ts";

export interface PutLeadsInput {
  accountId: number;
  campaignId: number;
  /** Each chat and each id once. */
  leads: readonly LeadInput[];
  /** False for imports of old leads. */
  scheduleFollowUps: boolean;
}

/**
 * Creates or changes leads of one campaign, all or none. Repeated and reordered calls come to the same end: the newest
 * status_time of a lead decides.
 *
 * @returns the leads' ids in the order of the input.
 */
export async function putLeads(context: PeopleContext, input: PutLeadsInput): Promise<number[]> {
  const { sql } = context;
  await keepSequenceAhead(sql, "lead", Math.max(...input.leads.map((lead) => lead.id)));
  const { ids, botId, newChats } = await retryCollisions(async () => {
    try {
      return await sql.begin((tx) => putInTransaction(tx, context, input));
    } catch (error) {
      if (constraintOf(error) === "lead_pkey") await refuseTakenIds(sql, input);
      throw error;
    }
  });
  // What was told of these chats meanwhile could not see the leads yet.
  if (newChats.length > 0) await retryCollisions(() => showFacts(sql, [botId], newChats));
  return ids;
}

interface PutLeadsResult {
  ids: number[];
  botId: number;
  /** Of leads that are new. */
  newChats: number[];
}

async function putInTransaction(
  tx: TransactionSql,
  context: PeopleContext,
  input: PutLeadsInput,
): Promise<PutLeadsResult> {
  await shareCampaignLock(tx, input.campaignId);
  const campaign = await selectCampaignBot(tx, input.campaignId, input.accountId);
  if (campaign === undefined) throw notYours("campaign");
  const written = new Map((await upsertLeads(tx, campaign, input.leads)).map((lead) => [lead.chatId, lead]));
  const idsByChat = new Map([...written].map(([chatId, { id }]) => [chatId, id]));
  const unchanged = input.leads.filter(({ chatId }) => !written.has(chatId)).map(({ chatId }) => chatId);
  for (const { id, chatId } of await selectLeadIds(tx, campaign.id, unchanged)) idsByChat.set(chatId, id);
  const ids = matchIds(input.leads, idsByChat);
  const made = [...written.values()].filter(({ created }) => created);
  await recallPeople(tx, context, campaign, input.leads, made);
  if (input.scheduleFollowUps) await scheduleFollowUps(tx, campaign, entriesOf(input.leads, written));
  noteChange({ changes: written.size, counted: true });
  return { ids, botId: campaign.botId, newChats: made.map(({ chatId }) => chatId) };
}

/** A lead that has entered its status stands as the input says. */
function entriesOf(leads: readonly LeadInput[], written: ReadonlyMap<number, WrittenLead>): LeadEntry[] {
  return leads.flatMap(({ chatId, status, statusTimeUs }) => {
    const lead = written.get(chatId);
    return lead?.entered ? [{ leadId: lead.id, entry: lead.entry, status, statusTimeUs }] : [];
  });
}

/** Tells an id that the caller must not use from one that was assigned elsewhere at this moment, which is tried again. */
async function refuseTakenIds(sql: Sql, { campaignId, leads }: PutLeadsInput): Promise<void> {
  const taken = await selectTakenIds(sql, campaignId, leads);
  const index = leads.findIndex((lead) => taken.has(lead.id));
  if (index >= 0) throw takenId(index);
}

export interface SetLeadStatusInput extends LeadRef {
  status: number;
  /** Microseconds since the Unix epoch. */
  statusTimeUs: number;
  scheduleFollowUps: boolean;
}

/** Moves one lead into a status under the same rules. @returns false if the stored time was equal or newer. */
export async function setLeadStatus(sql: Sql, input: SetLeadStatusInput): Promise<boolean> {
  return await retryCollisions(() =>
    sql.begin(async (tx) => {
      const campaign = await selectCampaignOfLead(tx, input);
      if (campaign === undefined) throw notYours("lead");
      await shareCampaignLock(tx, campaign.id);
      const entry = await updateLeadStatus(tx, input);
      // It may have been erased before we had the lock.
      if (entry === undefined && !(await leadExists(tx, input.leadId))) throw notYours("lead");
      if (entry !== undefined && input.scheduleFollowUps) await scheduleFollowUps(tx, campaign, [{ ...input, entry }]);
      const object = { kind: "campaign", id: String(campaign.id) } as const;
      noteChange({ object, changes: entry === undefined ? 0 : 1, counted: true });
      return entry !== undefined;
    }),
  );
}
