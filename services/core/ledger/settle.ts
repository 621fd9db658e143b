/**
 * Settle: what became of claimed sends. One transaction; transaction.ts has the order of locks, and why quota days may
 * come after the sends here. The bots come first, where one lead after another was refused (see fault-streak.ts).
 *
 * Every row is matched by its claim's own token, so a worker that lost its lease, woke from a freeze or kept its results
 * while Postgres was away can settle at any time: late proof replaces `unconfirmed`, and a row that was claimed again
 * since is left alone.
 */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { killPoint } from "#services/platform/kill-points.ts";
import { type ClaimedSend, keyOf } from "./claim.ts";
import { CounterDeltas } from "./counters.ts";
import { type DatabaseClock, databaseClock } from "./database-clock.ts";
import { type StreakChange, Streaks, type Suspicion, suspicionOf } from "./fault-streak.ts";
import { type Refusal, recordRefusals } from "./reachability.ts";
import { SendKind, SendReason, SendState } from "./send.ts";
import { isOpen } from "./source.ts";
import * as store from "./store.ts";
import { inTransaction } from "./transaction.ts";

/** How a send ended, as delivery saw it. */
export type SendResult =
  | { result: "sent"; messageId: number }
  /**
   * Refused for good because of this lead; `leaves` says that the chat leaves every audience, unless something newer than
   * the request is known of it: `writtenAtMs` on the process' monotonic clock is when it was written, by default now.
   */
  | { result: "failed"; reason: SendReason; leaves: boolean; writtenAtMs?: number; suspicion?: Suspicion }
  /** Refused because of the body, in these words. */
  | { result: "bodyFault"; reason: SendReason; words?: string; suspicion?: Suspicion }
  /** Nobody knows. */
  | { result: "unconfirmed"; reason: SendReason }
  /** Proof that it was not accepted: back to the queue. */
  | { result: "putBack"; reason: SendReason; retryAfterMs?: number };

/** What settle needs to remember of a claim: far less than the whole send, because it may be kept for long. */
export type SettleTicket = Pick<
  ClaimedSend,
  "sourceId" | "leadId" | "entry" | "botId" | "chatId" | "kind" | "accountId" | "token"
> & { revision: number };

/** The account of a ticket whose claim failed before it said whose it was; settle looks it up. */
export const UNKNOWN_ACCOUNT = 0;

export interface Settlement {
  ticket: SettleTicket;
  result: SendResult;
}

export function ticketOf(send: ClaimedSend): SettleTicket {
  const { sourceId, leadId, entry, botId, chatId, kind, accountId, token } = send;
  return { sourceId, leadId, entry, botId, chatId, kind, accountId, token, revision: send.body.revision };
}

export type StreakBots = Pick<Set<number>, "has"> & { add(botId: number): void };

export interface SettleOptions {
  sql: Sql;
  clock?: DatabaseClock;
  /** The clock of `writtenAtMs`. */
  monotonicMs?: () => number;
  /** Revisions already known to be accepted, by source: saves a statement a batch. Filled here. */
  acceptedRevisions?: Map<number, number>;
  /** Bots that may have a streak of refusals; the others' accepted sends end none. Undefined: any may. Added to here. */
  streaks?: StreakBots;
  /** Told, after the commit, which bots are held for their fault now and which are not any more. */
  onStreaks?: (change: StreakChange) => void;
}

type Runs = ReadonlyMap<number, store.RunRow>;

/**
 * Records results. Repeatable: a settlement that was written already changes nothing.
 * @returns the rows that changed, so that a caller can tell which of its results still counted.
 */
export async function settleSends(
  settlements: readonly Settlement[],
  options: SettleOptions,
): Promise<store.SettledRow[]> {
  if (settlements.length === 0) return [];
  const known = options.acceptedRevisions ?? new Map<number, number>();
  const accepted = newlyAccepted(settlements, known);
  for (const { ticket, result } of settlements) if (mayBeBots(result)) options.streaks?.add(ticket.botId);
  killPoint("settle.before-begin");
  const { settled, change } = await inTransaction(options.sql, async (tx) => {
    const inside = await settleInTransaction(tx, settlements, accepted, options);
    killPoint("settle.before-commit");
    return inside;
  });
  killPoint("settle.after-commit");
  // Only now: what a transaction wrote that was undone is not known.
  for (const [sourceId, revision] of accepted) known.set(sourceId, revision);
  if (change && change.size > 0) options.onStreaks?.(change);
  return settled;
}

function mayBeBots(result: SendResult): boolean {
  return (result.result === "failed" || result.result === "bodyFault") && result.suspicion !== undefined;
}

async function settleInTransaction(
  tx: TransactionSql,
  settlements: readonly Settlement[],
  accepted: ReadonlyMap<number, number>,
  options: SettleOptions,
): Promise<{ settled: store.SettledRow[]; change: StreakChange | undefined }> {
  const offsetMs = (options.clock ?? databaseClock).offsetMs();
  const streaks = await Streaks.open(tx, settlements, options.streaks);
  const runs = await lockRuns(tx, settlements, accepted, streaks);
  await raiseAccepted(tx, runs, accepted);
  const judged = streaks ? settlements.map((settlement) => withoutBlame(settlement, runs, streaks)) : settlements;
  const rows = judged.map((settlement) => settleRow(settlement, runs)).sort(byKey);
  const settled = await store.updateToSettled(tx, rows, offsetMs);
  const deltas = new CounterDeltas();
  for (const row of settled) deltas.move("settle", row, row.was, row.state);
  await giveBackQuota(tx, settled, judged);
  const isExcused = (settlement: Settlement, suspicion: Suspicion) => isExcusedBy(runs, settlement, suspicion);
  await streaks?.settle(tx, settlements, settled, { openRuns: openRunsOf(runs), deltas, isExcused });
  await deltas.write(tx);
  await countFaults(tx, settled, rows);
  await leaveAudiences(tx, settled, judged, options);
  await streaks?.restoreChats(tx);
  return { settled, change: streaks?.change };
}

/** While a bot is held for words, whoever else meets them is not to blame: it comes back. */
function withoutBlame(settlement: Settlement, runs: Runs, streaks: Streaks): Settlement {
  const suspicion = suspicionOf(settlement);
  if (!suspicion || !streaks.isHeldFor(settlement, suspicion)) return settlement;
  if (isExcusedBy(runs, settlement, suspicion)) return settlement;
  return { ...settlement, result: { result: "putBack", reason: SendReason.botRefused } };
}

/** Whether the run's owner resumed it although the bot was held for these words: since then they are the leads' own. */
function isExcusedBy(runs: Runs, { ticket }: Settlement, { key }: Suspicion): boolean {
  const run = runs.get(ticket.sourceId);
  if (ticket.kind !== SendKind.broadcast || run === undefined || run.excusedRun !== run.run) return false;
  return run.excusedWords.split("\n").includes(key);
}

function openRunsOf(runs: Runs): Map<number, number> {
  const open = [...runs].filter(([, { state }]) => isOpen(state));
  return new Map(open.map(([sourceId, { run }]) => [sourceId, run]));
}

function byKey(a: store.SettleRow, b: store.SettleRow): number {
  return a.sourceId - b.sourceId || a.leadId - b.leadId || a.entry - b.entry;
}

/** The revisions that these sends prove accepted, by source; without those that are known to be. */
function newlyAccepted(settlements: readonly Settlement[], known: ReadonlyMap<number, number>): Map<number, number> {
  const accepted = new Map<number, number>();
  for (const { ticket, result } of settlements) {
    if (result.result !== "sent" || ticket.kind !== SendKind.broadcast) continue;
    const before = accepted.get(ticket.sourceId) ?? known.get(ticket.sourceId) ?? 0;
    if (ticket.revision > before) accepted.set(ticket.sourceId, ticket.revision);
  }
  return accepted;
}

/**
 * Holds the broadcasts that are written to, and those whose sends come back: their run may not close between the look and
 * the write. All in one statement, so that two settles take them in the same order.
 */
async function lockRuns(
  tx: TransactionSql,
  settlements: readonly Settlement[],
  accepted: ReadonlyMap<number, number>,
  streaks: Streaks | undefined,
): Promise<Runs> {
  const returning = settlements
    .filter(({ ticket, result }) => ticket.kind === SendKind.broadcast && (comesBack(result) || mayBeBots(result)))
    .map(({ ticket }) => ticket.sourceId);
  const sourceIds = [...new Set([...returning, ...accepted.keys(), ...(streaks?.sourceIds ?? [])])];
  return sourceIds.length === 0 ? new Map() : await store.lockRuns(tx, sourceIds);
}

/** Written once per revision: from then on a body fault is the lead's. */
async function raiseAccepted(tx: TransactionSql, runs: Runs, accepted: ReadonlyMap<number, number>): Promise<void> {
  for (const [sourceId, revision] of accepted) {
    const run = runs.get(sourceId);
    if (run === undefined || run.acceptedRevision >= revision) continue;
    await store.raiseAcceptedRevision(tx, sourceId, revision);
    run.acceptedRevision = revision;
  }
}

function comesBack(result: SendResult): boolean {
  return result.result === "putBack" || result.result === "bodyFault";
}

function settleRow(settlement: Settlement, runs: Runs): store.SettleRow {
  const { ticket, result } = settlement;
  const { sourceId, leadId, entry, token } = ticket;
  const base = { sourceId, leadId, entry, token, messageId: null, run: null, faultRevision: null, retryAfterMs: null };
  switch (result.result) {
    case "sent":
      return { ...base, state: SendState.sent, reason: SendReason.none, messageId: result.messageId };
    case "failed":
      return { ...base, state: SendState.failed, reason: result.reason };
    case "unconfirmed":
      return { ...base, state: SendState.unconfirmed, reason: result.reason };
    case "bodyFault":
      return bodyFaultRow(base, ticket, result, runs);
    case "putBack":
      return putBackRow(base, ticket, result, runs);
    default:
      return result satisfies never;
  }
}

type BaseRow = Omit<store.SettleRow, "state" | "reason">;

/** A broadcast's send comes back to the open run, or is dropped; a follow-up's waits in its only run. */
function putBackRow(
  base: BaseRow,
  ticket: SettleTicket,
  result: { reason: SendReason; retryAfterMs?: number },
  runs: Runs,
): store.SettleRow {
  const retryAfterMs = result.retryAfterMs ?? null;
  if (ticket.kind === SendKind.followUp) {
    // The relay finds follow-ups by when they are due: without a moment this one would wait for ever.
    return { ...base, state: SendState.queued, reason: result.reason, retryAfterMs: retryAfterMs ?? 0 };
  }
  const open = openRun(runs, ticket.sourceId);
  if (open === undefined) return { ...base, state: SendState.dropped, reason: SendReason.cancelled };
  return { ...base, state: SendState.queued, reason: result.reason, run: open.run, retryAfterMs };
}

/** The lead's fault once another lead has had this revision; until then it may be the body's, and the lead waits. */
function bodyFaultRow(
  base: BaseRow,
  ticket: SettleTicket,
  { reason, words = "" }: SendResult & { result: "bodyFault" },
  runs: Runs,
): store.SettleRow {
  const current = runs.get(ticket.sourceId);
  const lead = ticket.kind === SendKind.followUp || (current?.acceptedRevision ?? 0) >= ticket.revision;
  if (lead) return { ...base, state: SendState.failed, reason };
  const open = openRun(runs, ticket.sourceId);
  if (open === undefined) return { ...base, state: SendState.dropped, reason: SendReason.cancelled };
  return { ...base, state: SendState.queued, reason, run: open.run, faultRevision: ticket.revision, words };
}

function openRun(runs: Runs, sourceId: number): { run: number } | undefined {
  const current = runs.get(sourceId);
  return current && isOpen(current.state) ? current : undefined;
}

/** What was reserved for a send that was not made goes back to the day that it was taken from. */
async function giveBackQuota(
  tx: TransactionSql,
  settled: store.SettledRow[],
  settlements: readonly Settlement[],
): Promise<void> {
  const rows = settled.filter(
    ({ quotaDay, state }) => quotaDay !== null && state !== SendState.sent && state !== SendState.unconfirmed,
  );
  if (rows.length === 0) return;
  const accounts = await accountsOf(tx, rows, settlements);
  const back = new Map<string, { accountId: number; day: string; used: number }>();
  for (const { sourceId, quotaDay } of rows) {
    const accountId = accounts.get(sourceId)!;
    const key = `${accountId}:${quotaDay}`;
    const entry = back.get(key) ?? { accountId, day: quotaDay!, used: 0 };
    entry.used -= 1;
    back.set(key, entry);
  }
  await store.addQuota(tx, [...back.values()]);
}

/** By source. Where the ticket does not know its account the bot does: it outlives the broadcast's generation. */
async function accountsOf(
  tx: TransactionSql,
  rows: store.SettledRow[],
  settlements: readonly Settlement[],
): Promise<Map<number, number>> {
  const accounts = new Map(settlements.map(({ ticket }) => [ticket.sourceId, ticket.accountId]));
  const unknown = rows.filter((row) => accounts.get(row.sourceId) === UNKNOWN_ACCOUNT);
  if (unknown.length === 0) return accounts;
  const ofBots = await store.selectAccountsOfBots(tx, [...new Set(unknown.map((row) => row.botId))]);
  for (const { sourceId, botId } of unknown) accounts.set(sourceId, ofBots.get(botId)!);
  return accounts;
}

async function countFaults(tx: TransactionSql, settled: store.SettledRow[], rows: store.SettleRow[]): Promise<void> {
  const faulty = new Map(
    rows.filter((row) => row.faultRevision !== null).map((row) => [`${row.sourceId}:${row.leadId}`, row]),
  );
  if (faulty.size === 0) return;
  const faults = new Map<string, { sourceId: number; revision: number; leads: number; words: string }>();
  for (const row of settled) {
    const fault = faulty.get(`${row.sourceId}:${row.leadId}`);
    if (!fault || row.state !== SendState.queued) continue;
    const key = `${row.sourceId}:${fault.faultRevision}`;
    const leads = (faults.get(key)?.leads ?? 0) + 1;
    faults.set(key, { sourceId: row.sourceId, revision: fault.faultRevision!, leads, words: fault.words ?? "" });
  }
  for (const fault of faults.values()) await store.addFaultLeads(tx, fault);
}

/** Only for results that still counted. Facts are taken in the order of their chats, so that two settles do not deadlock. */
async function leaveAudiences(
  tx: TransactionSql,
  settled: store.SettledRow[],
  settlements: readonly Settlement[],
  { clock = databaseClock, monotonicMs }: SettleOptions,
): Promise<void> {
  const leaving = settlements.filter(({ result }) => result.result === "failed" && result.leaves);
  if (leaving.length === 0) return;
  const written = new Set(settled.map(keyOf));
  const refusals = leaving.flatMap(({ ticket, result }): Refusal[] => {
    if (result.result !== "failed" || !written.has(keyOf(ticket))) return [];
    const { reason, writtenAtMs } = result;
    const agoMs = writtenAtMs === undefined || monotonicMs === undefined ? 0 : monotonicMs() - writtenAtMs;
    return [{ botId: ticket.botId, chatId: ticket.chatId, reason, agoMs }];
  });
  if (refusals.length > 0) await recordRefusals(tx, refusals, clock.offsetMs());
}
