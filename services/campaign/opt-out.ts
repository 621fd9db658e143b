/**
 * Opting out, and what is remembered of it. An opt-out stands in the lead, where sends and audiences look, and in the memory,
 * which outlives the lead (opt-out-memory.ts).
 *
 * Invariants:
 * 1. Both are written in one transaction, also where there is no lead: then the memory alone.
 * 2. A lead that is made looks the memory up. So an opt-out without a lead holds the campaign's lock alone, and PutLeads
 *    shares it: whichever comes second sees the first.
 * 3. Opt-outs have no order: one always counts. It is lifted only by a call that says when the person asked for it, and not
 *    where a later one came in.
 *
 * Order of locks: campaign → lead → memory.
 */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { notYours } from "#services/platform/domain-error.ts";
import type { SecretBox } from "#services/platform/secrets.ts";
import { takeCampaignLock } from "./campaign-lock.ts";
import { type LeadInput, takenId } from "./lead.ts";
import { type LeadRef, lockLead, updateOptedOut, type WrittenLead } from "./lead-store.ts";
import type { OptOutMemory } from "./opt-out-memory.ts";
import * as store from "./opt-out-store.ts";

/** What is needed to remember people. */
export interface PeopleContext {
  sql: Sql;
  /** Opens the tokens of bots whose number has not been read yet. */
  secretBox: SecretBox;
  memory: OptOutMemory;
}

interface CampaignChat {
  campaignId: number;
  chatId: number;
}

/** By number, the one first that new opt-outs are kept under. */
export function hashesOf({ secretBox, memory }: PeopleContext, bot: store.NumberedBot, chat: CampaignChat): string[] {
  return store.numbersOf(secretBox, bot).map((number) => memory.optOutHash(number, chat.campaignId, chat.chatId));
}

/**
 * Whether a tap that came in at one bot is about a campaign of the other: the campaign may have had another bot of the
 * account, and Telegram may send a number's updates to a row that has lost it. A customer's own messages can carry any
 * data, so a campaign of another account counts only where the number is the same.
 */
export function isSameBot(secretBox: SecretBox, { of, at, sameAccount }: store.TapTarget): boolean {
  if (sameAccount) return true;
  const numbers = new Set(store.numbersOf(secretBox, of).filter((number) => number !== 0));
  return store.numbersOf(secretBox, at).some((number) => numbers.has(number));
}

/** Ends all messages of a campaign to a chat. @returns whether that is news. */
export async function optOutChat(
  tx: TransactionSql,
  context: PeopleContext,
  bot: store.NumberedBot,
  chat: CampaignChat,
): Promise<boolean> {
  let changed = await store.updateChatOptedOut(tx, chat);
  if (changed === undefined) {
    await takeCampaignLock(tx, chat.campaignId);
    changed = await store.updateChatOptedOut(tx, chat);
  }
  const added = await store.insertOptOut(tx, hashesOf(context, bot, chat)[0]!);
  return changed ?? added;
}

/** The same for a customer's lead. @returns whether it is news. Throws DomainError NOT_YOURS. */
export async function optOutLead(tx: TransactionSql, context: PeopleContext, ref: LeadRef): Promise<boolean> {
  const lead = await updateOptedOut(tx, ref);
  if (lead === undefined) throw notYours("lead");
  const bot = await store.selectNumberedBot(tx, lead.botId);
  await store.insertOptOut(tx, hashesOf(context, bot, lead)[0]!);
  return lead.changed;
}

/**
 * Lifts an opt-out that came in no later than `atUs`: a mis-tap. @returns whether the lead is opted out now, and was.
 * Throws DomainError NOT_YOURS.
 */
export async function liftOptOut(
  tx: TransactionSql,
  context: PeopleContext,
  ref: LeadRef & { atUs: number },
): Promise<{ optedOut: boolean; changed: boolean }> {
  const lead = await lockLead(tx, ref);
  if (lead === undefined) throw notYours("lead");
  const hashes = hashesOf(context, await store.selectNumberedBot(tx, lead.botId), lead);
  const forgotten = await store.deleteOptOuts(tx, hashes, ref.atUs);
  const later = await store.selectOptOuts(tx, hashes);
  if (later.size > 0) return { optedOut: true, changed: false };
  await tx`UPDATE lead SET opted_out = false WHERE id = ${ref.leadId}`;
  return { optedOut: false, changed: lead.optedOut || forgotten > 0 };
}

/** Opts out those of the leads just made whose chats have unsubscribed before, and refuses an id that somebody else had. */
export async function recallPeople(
  tx: TransactionSql,
  context: PeopleContext,
  campaign: { id: number; botId: number },
  leads: readonly LeadInput[],
  made: readonly WrittenLead[],
): Promise<void> {
  await refuseErasedIds(tx, context, campaign.id, leads, made);
  if (made.length === 0 || !(await store.someOptOut(tx))) return;
  const bot = await store.selectNumberedBot(tx, campaign.botId);
  const byHash = new Map<string, number>();
  for (const { id, chatId } of made) {
    for (const hash of hashesOf(context, bot, { campaignId: campaign.id, chatId })) byHash.set(hash, id);
  }
  const known = await store.selectOptOuts(tx, [...byHash.keys()]);
  if (known.size > 0) await store.updateLeadsOptedOut(tx, [...new Set([...known].map((hash) => byHash.get(hash)!))]);
}

/** The ledger still names erased leads: what it knows of one must not be taken for another person's. */
async function refuseErasedIds(
  tx: TransactionSql,
  { memory }: PeopleContext,
  campaignId: number,
  leads: readonly LeadInput[],
  made: readonly WrittenLead[],
): Promise<void> {
  const madeIds = new Set(made.map(({ id }) => id));
  const named = leads.filter(({ id }) => id !== 0 && madeIds.has(id)).map(({ id }) => id);
  if (named.length === 0) return;
  const erased = await store.selectErasedLeads(tx, named);
  const index = leads.findIndex(({ id, chatId }) => {
    const hash = erased.get(id);
    return hash !== undefined && hash !== memory.personHash(campaignId, chatId);
  });
  if (index >= 0) throw takenId(index);
}

/** Keeps of a lead that was deleted what must outlive it. */
export async function rememberErased(
  tx: TransactionSql,
  context: PeopleContext,
  lead: CampaignChat & { id: number; botId: number; optedOut: boolean },
): Promise<void> {
  await store.insertErasedLead(tx, lead.id, context.memory.personHash(lead.campaignId, lead.chatId));
  if (!lead.optedOut) return;
  // It is remembered already, unless it is from before opt-outs were and its turn has not come.
  const bot = await store.selectNumberedBot(tx, lead.botId);
  await store.insertFormerOptOuts(tx, hashesOf(context, bot, lead).slice(0, 1));
}
