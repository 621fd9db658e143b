/**
 * The transactions of a broadcast's life: each decides and writes while it holds what decides. The order of locks is
 * that of services/core/ledger/transaction.ts.
 */
import { noteChange } from "#services/core/audit/record.ts";
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { loadEntitlement } from "#services/core/entitlement/entitlement.ts";
import { readCounters } from "#services/core/ledger/counters.ts";
import { dropQueued } from "#services/core/ledger/drop.ts";
import { enqueueAudience, forgetFaults, hasUntriedSends } from "#services/core/ledger/enqueue.ts";
import { shutGate } from "#services/core/ledger/gate.ts";
import { retireSource } from "#services/core/ledger/prune.ts";
import { inTransaction } from "#services/core/ledger/transaction.ts";
import { checkSendable } from "#services/core/message/body.ts";
import { DomainError, ErrorReason, notYours } from "#services/platform/domain-error.ts";
import { killPoint } from "#services/platform/kill-points.ts";
import { excuseBots, selectHopelessBots } from "./bot-fault-store.ts";
import { type Action, BroadcastState, nextState } from "./broadcast.ts";
import { MAX_QUEUED, queueRoom, requireQueueRoom } from "./queue-room.ts";
import type { BroadcastRow } from "./store.ts";
import * as store from "./store.ts";

/**
 * Takes every lead of the audience that was not reached yet and opens a run.
 * @returns how many were enqueued; with 0 nothing has changed.
 */
export async function startBroadcast(
  sql: Sql,
  accountId: number,
  broadcastId: number,
  maxQueued = MAX_QUEUED,
): Promise<number> {
  return await decide(sql, accountId, broadcastId, async (tx, broadcast) => {
    await requireFeature(tx, accountId);
    nextState("start", broadcast.state);
    checkSendable(broadcast);
    const queued = await enqueue(tx, broadcast, await queueRoom(tx, accountId, maxQueued));
    if (queued > 0) await requireQueueRoom(tx, accountId, maxQueued);
    noteChange({ changes: queued });
    return queued;
  });
}

/** Stops at one more than there is room for, where it can. */
async function enqueue(tx: TransactionSql, broadcast: BroadcastRow, room: number): Promise<number> {
  const { id, accountId, sourceId } = broadcast;
  const run = broadcast.run + 1;
  const audience = store.audienceOf(accountId, broadcast);
  const { enqueued, first } = await enqueueAudience(tx, audience, { sourceId, run, limit: room + 1 });
  if (enqueued === 0) return 0;
  const total = first ? enqueued : await store.countAudience(tx, accountId, broadcast);
  await store.updateStarted(tx, id, run, total);
  return enqueued;
}

/** running → paused. When this has returned, nothing more is claimed. */
export async function pauseBroadcast(sql: Sql, accountId: number, broadcastId: number): Promise<void> {
  await decide(sql, accountId, broadcastId, async (tx, broadcast) => {
    await store.updateState(tx, broadcast.id, nextState("pause", broadcast.state));
  });
}

/**
 * paused → running, or done when nothing is left. Leads that met a fault of the body are tried again. Where a bot is at fault
 * whatever was tried, what Telegram says of it counts as its leads' own for the rest of this run.
 */
export async function resumeBroadcast(sql: Sql, accountId: number, broadcastId: number): Promise<void> {
  await decide(sql, accountId, broadcastId, async (tx, broadcast) => {
    await requireFeature(tx, accountId);
    const next = nextState("resume", broadcast.state);
    if (broadcast.faultLeads > 0 && broadcast.faultRevision === broadcast.revision) {
      await forgetFaults(tx, broadcast.sourceId);
      await store.clearFaults(tx, broadcast.id);
    }
    const hopeless = await selectHopelessBots(tx, broadcast, { sinceStart: false });
    if (hopeless.length > 0) await excuseBots(tx, broadcast.id, hopeless);
    const left = await countLeft(tx, broadcast.sourceId);
    await store.updateState(tx, broadcast.id, left > 0 ? next : nextState("finish", broadcast.state));
  });
}

/** running or paused → cancelled. What is queued stays where it is and counts as dropped: its run is closed. */
export async function cancelBroadcast(sql: Sql, accountId: number, broadcastId: number): Promise<void> {
  await decide(sql, accountId, broadcastId, async (tx, broadcast) => {
    await store.updateState(tx, broadcast.id, nextState("cancel", broadcast.state));
    await dropQueued(tx, broadcast.sourceId);
  });
}

/** done or cancelled → draft, in a new generation. */
export async function resetBroadcast(sql: Sql, accountId: number, broadcastId: number): Promise<void> {
  await decide(sql, accountId, broadcastId, async (tx, broadcast) => {
    nextState("reset", broadcast.state);
    await store.updateReset(tx, broadcast.id);
    await retireSource(tx, broadcast.sourceId);
  });
}

/** Any state but running. What is parked goes with it. */
export async function deleteBroadcast(sql: Sql, accountId: number, broadcastId: number): Promise<void> {
  await decide(sql, accountId, broadcastId, async (tx, broadcast) => {
    nextState("delete", broadcast.state);
    await store.deleteBroadcast(tx, broadcast.id);
    await retireSource(tx, broadcast.sourceId);
  });
}

/**
 * The system's own decisions, repeated by a sweep: a running broadcast with nothing queued or on the wire is done; one whose
 * body the Bot API refuses, or one whose bot it refuses, pauses. All look and write under the gate, so they decide on the run that they have seen.
 * @returns the state afterwards; undefined if the broadcast is gone.
 */
export async function reviewBroadcast(
  sql: Sql,
  accountId: number,
  broadcastId: number,
): Promise<BroadcastState | undefined> {
  const state = await inTransaction(sql, async (tx) => {
    const broadcast = await lockWithGate(tx, accountId, broadcastId);
    if (!broadcast || broadcast.state !== BroadcastState.running) return broadcast?.state;
    if ((await countLeft(tx, broadcast.sourceId)) === 0) return await writeState(tx, broadcast, "finish");
    const pauseReason = (await bodyFaultReason(tx, broadcast)) ?? (await botFaultReason(tx, broadcast));
    return pauseReason === undefined ? broadcast.state : await writeState(tx, broadcast, "pause", pauseReason);
  });
  killPoint("review.after-commit");
  return state;
}

async function writeState(
  tx: TransactionSql,
  broadcast: BroadcastRow,
  action: Action,
  pauseReason = "",
): Promise<BroadcastState> {
  const state = nextState(action, broadcast.state);
  await store.updateState(tx, broadcast.id, state, pauseReason);
  killPoint("review.before-commit");
  return state;
}

/** How many leads with a fault of the body pause a broadcast whose body nobody has received. */
const BODY_FAULT_LIMIT = 5;

async function bodyFaultReason(tx: TransactionSql, broadcast: BroadcastRow): Promise<string | undefined> {
  const { faultLeads, faultRevision, faultWords, revision, acceptedRevision } = broadcast;
  if (faultLeads === 0 || faultRevision !== revision || acceptedRevision >= revision) return undefined;
  // Rows and not the count: some of those that met it may be gone since.
  if (faultLeads < BODY_FAULT_LIMIT && (await hasUntriedSends(tx, broadcast))) return undefined;
  const said = faultWords === "" ? "" : ` It said: ${faultWords}.`;
  return `Telegram refused this message for ${faultLeads} leads and accepted it for none.${said} Check text, media and link, then resume.`;
}

async function botFaultReason(tx: TransactionSql, broadcast: BroadcastRow): Promise<string | undefined> {
  const [bot] = await selectHopelessBots(tx, broadcast, { sinceStart: true });
  if (!bot) return undefined;
  return `Bot ${bot.botId} cannot send. ${bot.message}. Look at the bot, then resume: leads that are refused like this fail then.`;
}

/** Queued and on the wire. */
async function countLeft(tx: TransactionSql, sourceId: number): Promise<number> {
  const counters = (await readCounters(tx, [sourceId])).get(sourceId)!;
  return counters.queued + counters.sending;
}

/** Throws DomainError FEATURE_MISSING. The account's own state is read in the transaction that acts on it. */
async function requireFeature(tx: TransactionSql, accountId: number): Promise<void> {
  const entitlement = await loadEntitlement(tx, accountId);
  if (entitlement?.broadcasts) return;
  throw new DomainError(
    ErrorReason.FEATURE_MISSING,
    "Broadcasts are not part of your tariff: upgrade it to send messages.",
  );
}

/** Runs one decision on an account's own broadcast, with its gate shut. Throws DomainError NOT_YOURS. */
async function decide<T>(
  sql: Sql,
  accountId: number,
  broadcastId: number,
  work: (tx: TransactionSql, broadcast: BroadcastRow) => Promise<T>,
): Promise<T> {
  const decided = await inTransaction(sql, async (tx) => {
    const broadcast = await lockWithGate(tx, accountId, broadcastId);
    if (!broadcast) throw notYours("broadcast");
    const inside = await work(tx, broadcast);
    killPoint("decide.before-commit");
    return inside;
  });
  killPoint("decide.after-commit");
  return decided;
}

/**
 * The gate is named by the source, and a Reset may change that while we wait for the gate: then the lock that we hold is
 * the old generation's, and the new one's is taken as well. Sources only rise, so the order of locks stays the same.
 */
async function lockWithGate(
  tx: TransactionSql,
  accountId: number,
  broadcastId: number,
): Promise<BroadcastRow | undefined> {
  let sourceId = (await store.selectBroadcast(tx, accountId, broadcastId))?.sourceId;
  while (sourceId !== undefined) {
    await shutGate(tx, sourceId);
    const broadcast = await store.selectBroadcast(tx, accountId, broadcastId);
    if (!broadcast || broadcast.sourceId === sourceId) break;
    sourceId = broadcast.sourceId;
  }
  if (!(await store.lockBroadcast(tx, accountId, broadcastId))) return undefined;
  // Read again, in a statement of its own: one that waited for an edit sees the new row, but the scope of before it.
  return await store.selectBroadcast(tx, accountId, broadcastId);
}
