import type { TransactionSql } from "#services/core/database/client.ts";
import { retryCollisions } from "#services/core/database/retry.ts";
import { eraseSends, selectWaitingBroadcasts } from "#services/core/ledger/erase.ts";
import { passGates } from "#services/core/ledger/gate.ts";
import { forgetChat } from "#services/core/ledger/reachability.ts";
import { notYours } from "#services/platform/domain-error.ts";
import { takeCampaignLock } from "./campaign-lock.ts";
import { deleteLeadRow } from "./erasure-store.ts";
import { type LeadRef, selectCampaignOfLead } from "./lead-store.ts";
import { type PeopleContext, rememberErased } from "./opt-out.ts";

/**
 * Erases a person: the lead's row, and what its sends say of it. Sends keep the bare id and their state, so that counters
 * keep their totals; what waits is dropped.
 *
 * A broadcast that is being started, paused or ended at this moment has its gate shut, and its row stays queued: the claim
 * drops a send whose lead is gone, for the same reason. Locks come in the order of the life cycle: gates, then the
 * campaign, the sends, their counters, and the lead last, as in settle. What was known of its chat goes when no other lead
 * has it; an opt-out stays, as a hash, and so does the id, which the ledger still names.
 */
export async function deleteLead(context: PeopleContext, ref: LeadRef): Promise<void> {
  await retryCollisions(() => context.sql.begin((tx) => eraseInTransaction(tx, context, ref)));
}

async function eraseInTransaction(tx: TransactionSql, context: PeopleContext, ref: LeadRef): Promise<void> {
  const waiting = await selectWaitingBroadcasts(tx, ref);
  const open = waiting.length === 0 ? new Set<number>() : await passGates(tx, waiting);
  const campaign = await selectCampaignOfLead(tx, ref);
  if (campaign === undefined) throw notYours("lead");
  // Nobody enters the lead into a status any more, which could schedule what was just looked for.
  await takeCampaignLock(tx, campaign.id);
  await eraseSends(tx, { ...ref, campaignId: campaign.id }, [...open]);
  const erased = await deleteLeadRow(tx, ref.leadId);
  // Another call may have erased it before we had the lock.
  if (erased === undefined) throw notYours("lead");
  await forgetChat(tx, erased);
  await rememberErased(tx, context, erased);
}
