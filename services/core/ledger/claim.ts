/**
 * Claim: of the jobs whose turn it is, which may be sent now? One transaction, whose locks are taken in the order that
 * transaction.ts gives.
 *
 * 1. Pass the gates of the broadcasts, read what decides about each source, hold the shards' leases.
 * 2. Reserve nothing yet: hold the accounts' quota rows, and let through as many manual jobs as the day has room for.
 * 3. queued → sending for the rows that still are what their job says and whose lead may be messaged.
 * 4. queued → dropped for those whose lead, block or account says never.
 * 5. Count: quota by what was claimed, counters by what moved.
 *
 * A job that is neither claimed, dropped nor told to wait is stale: its row has moved on, and the job is forgotten.
 */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { killPoint } from "#services/platform/kill-points.ts";
import { CounterDeltas } from "./counters.ts";
import { type DatabaseClock, databaseClock } from "./database-clock.ts";
import { passGates } from "./gate.ts";
import { HoldReason, type SendKey, SendKind, SendReason, SendState, shardOf } from "./send.ts";
import { BlockState, BroadcastState } from "./source.ts";
import type { BotRow, ClaimedRow, SourceRow } from "./store.ts";
import * as store from "./store.ts";
import { inTransaction } from "./transaction.ts";

/** "This row may be due": what a message on JetStream says. Nothing in it is believed. */
export interface SendJob extends SendKey {
  kind: SendKind;
  botId: number;
}

export type WaitReason = "paused" | "quota" | "entitlement" | "bot" | "gate" | "lease";

/** A send that is now on the wire, with all that is needed to make and settle it. */
export interface ClaimedSend extends ClaimedRow {
  kind: SendKind;
  accountId: number;
  token: number;
  quotaDay: string | null;
  body: store.StoredBody;
  bot: BotRow;
}

export type ClaimAnswer =
  | { outcome: "claimed"; send: ClaimedSend }
  /** Still queued. `until` where it is known; the relay publishes it again when it is sendable. */
  | { outcome: "wait"; reason: WaitReason; until?: Date }
  | { outcome: "dropped"; reason: SendReason }
  /** Not queued any more, or not this way: nothing is left to do for this job. */
  | { outcome: "stale" };

export interface ClaimOptions {
  sql: Sql;
  clock?: DatabaseClock;
  /** Delivery's role number in `shard_lease`, and the fences of the shards it holds. */
  role: number;
  leases: ReadonlyMap<number, number>;
  /** Postgres' timeline that the ledger is known to be complete on; undefined asks for none. */
  timeline?: number;
  /** How long a claim may be silent before it is rescued: the send's timeout and a margin. */
  rescueMs: { text: number; media: number };
  /** Claims for bots that are held by what ends when a message is accepted: one is tried. */
  trying?: boolean;
  /** Names the claim; unique among all claims ever made. Default: `randomToken()`. */
  token?: number;
}

/** A job's place in maps. */
export function keyOf(key: SendKey): string {
  return `${key.sourceId}:${key.leadId}:${key.entry}`;
}

/** 53 random bits: two claims of the same row by the same token would need some 10^7 claims of that row. */
export function randomToken(): number {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (high! & 0x1fffff) * 2 ** 32 + low!;
}

/** Answers for each job, in order. Claims what it can in one transaction; at most a few hundred jobs at once. */
export async function claimSends(jobs: readonly SendJob[], options: ClaimOptions): Promise<ClaimAnswer[]> {
  if (jobs.length === 0) return [];
  const keys = jobs.map(keyOf);
  const first = firstOfEach(keys);
  const single = jobs.filter((_, i) => first.get(keys[i]!) === i);
  killPoint("claim.before-begin");
  const answers = await inTransaction(options.sql, async (tx) => {
    const inside = await claimInTransaction(tx, single, options);
    killPoint("claim.before-commit");
    return inside;
  });
  killPoint("claim.after-commit");
  return keys.map((key, i) => (first.get(key) === i && answers.get(key)) || { outcome: "stale" });
}

/** A job that stands in the batch twice gets one answer: were both "claimed", its lead would be messaged twice. */
function firstOfEach(keys: readonly string[]): Map<string, number> {
  const first = new Map<string, number>();
  for (const [i, key] of keys.entries()) if (!first.has(key)) first.set(key, i);
  return first;
}

type Answers = Map<string, ClaimAnswer>;

async function claimInTransaction(
  tx: TransactionSql,
  jobs: readonly SendJob[],
  options: ClaimOptions,
): Promise<Answers> {
  const offsetMs = (options.clock ?? databaseClock).offsetMs();
  const answers: Answers = new Map();
  const gates = await readGates(tx, jobs, options, offsetMs);
  const { day } = gates;
  const { admitted, refused } = sortByGate(jobs, gates, answers);
  const within = await applyQuota(tx, admitted, gates, answers);
  const deltas = new CounterDeltas();
  const context = { day, offsetMs, options, deltas, answers };
  const quota = within.jobs.length > 0 ? await moveAdmitted(tx, within, gates, context) : [];
  if (refused.length > 0) await dropRefused(tx, refused, offsetMs, deltas, answers);
  await Promise.all([store.addQuota(tx, quota), deltas.write(tx)]);
  return answers;
}

interface Gates {
  passed: ReadonlySet<number>;
  sources: ReadonlyMap<number, SourceRow>;
  bots: ReadonlyMap<number, BotRow>;
  shards: ReadonlySet<number>;
  /** The UTC day of this transaction; null where no broadcast is among the sources. */
  day: string | null;
  /** Whether holds that end by trying are passed. */
  trying: boolean;
}

/** Holds that end when a message is accepted. */
const BY_TRYING: readonly HoldReason[] = [HoldReason.botFault, HoldReason.breaker];

/** The gates come first; what is read after them cannot change until this transaction ends. */
async function readGates(
  tx: TransactionSql,
  jobs: readonly SendJob[],
  options: ClaimOptions,
  offsetMs: number,
): Promise<Gates> {
  const broadcastIds = sourcesOf(jobs, SendKind.broadcast);
  const blockIds = sourcesOf(jobs, SendKind.followUp);
  const botIds = [...new Set(jobs.map((job) => job.botId))];
  // Sent one behind the other without waiting: Postgres runs them in this order, each with a snapshot of its own.
  const [passed, shards, broadcasts, blocks, bots] = await Promise.all([
    passGates(tx, broadcastIds),
    store.lockLeases(tx, options.role, options.leases, options.timeline),
    store.selectBroadcastSources(tx, broadcastIds, offsetMs),
    store.lockBlockSources(tx, blockIds, offsetMs),
    store.selectBots(tx, botIds, offsetMs),
  ]);
  const sources = new Map([...broadcasts, ...blocks].map((row) => [row.sourceId, row]));
  const day = broadcasts[0]?.today ?? null;
  const { trying = false } = options;
  return { passed, sources, shards, bots: new Map(bots.map((bot) => [bot.botId, bot])), day, trying };
}

function sourcesOf(jobs: readonly SendJob[], kind: SendKind): number[] {
  return [...new Set(jobs.filter((job) => job.kind === kind).map((job) => job.sourceId))].sort((a, b) => a - b);
}

type Verdict =
  | { verdict: "admit" }
  | { verdict: "wait"; reason: WaitReason; until?: Date }
  | { verdict: "drop"; reason: SendReason }
  | { verdict: "stale" };

/** What the gates say of a job, before its own row and lead are looked at. */
export function judgeJob(job: SendJob, gates: Gates): Verdict {
  const bot = gates.bots.get(job.botId);
  const source = sourceOfKind(gates, job);
  if (!bot) return { verdict: "stale" };
  if (!gates.shards.has(shardOf(job.botId))) return { verdict: "wait", reason: "lease" };
  if (job.kind === SendKind.broadcast && !gates.passed.has(job.sourceId)) return { verdict: "wait", reason: "gate" };
  // A block that somebody is saving this moment is locked and so not among the sources: the job comes again.
  if (!source) return job.kind === SendKind.followUp ? { verdict: "wait", reason: "gate" } : { verdict: "stale" };
  const verdict = job.kind === SendKind.broadcast ? judgeBroadcast(source) : judgeBlock(source);
  if (verdict.verdict !== "admit" || bot.holdReason === HoldReason.none) return verdict;
  if (gates.trying && BY_TRYING.includes(bot.holdReason)) return verdict;
  return { verdict: "wait", reason: "bot", until: bot.holdUntil ?? undefined };
}

/** A job that lies about its kind finds no source: otherwise a broadcast would be judged as a block, without gate and cap. */
function sourceOfKind(gates: Gates, job: SendJob): SourceRow | undefined {
  const source = gates.sources.get(job.sourceId);
  return source && source.status < 0 === (job.kind === SendKind.broadcast) ? source : undefined;
}

function judgeBroadcast(source: SourceRow): Verdict {
  if (source.state === BroadcastState.paused) return { verdict: "wait", reason: "paused" };
  if (source.state !== BroadcastState.running) return { verdict: "stale" };
  if (!source.paid || !source.feature) return { verdict: "wait", reason: "entitlement" };
  return { verdict: "admit" };
}

function judgeBlock(source: SourceRow): Verdict {
  if (source.state === BlockState.off) return { verdict: "drop", reason: SendReason.blockOff };
  if (source.state === BlockState.campaignNotLive) return { verdict: "drop", reason: SendReason.campaignNotLive };
  if (!source.paid || !source.feature) return { verdict: "drop", reason: SendReason.entitlement };
  return { verdict: "admit" };
}

function sortByGate(
  jobs: readonly SendJob[],
  gates: Gates,
  answers: Answers,
): { admitted: SendJob[]; refused: (SendJob & { reason: SendReason })[] } {
  const admitted: SendJob[] = [];
  const refused: (SendJob & { reason: SendReason })[] = [];
  for (const job of jobs) {
    const key = keyOf(job);
    const verdict = judgeJob(job, gates);
    if (verdict.verdict === "admit") admitted.push(job);
    else if (verdict.verdict === "drop") refused.push({ ...job, reason: verdict.reason });
    else if (verdict.verdict === "wait") answers.set(key, { outcome: "wait", ...omitVerdict(verdict) });
  }
  return { admitted, refused };
}

function omitVerdict(verdict: { reason: WaitReason; until?: Date }): { reason: WaitReason; until?: Date } {
  return { reason: verdict.reason, until: verdict.until };
}

interface Admitted {
  jobs: SendJob[];
  /** Accounts whose quota row is held. */
  accounts: ReadonlySet<number>;
}

/** Lets through as many manual jobs of each account as its day has room for; the others wait. */
async function applyQuota(tx: TransactionSql, jobs: SendJob[], gates: Gates, answers: Answers): Promise<Admitted> {
  const manual = jobs.filter((job) => job.kind === SendKind.broadcast);
  const caps = new Map(manual.map((job) => [sourceOf(gates, job).accountId, sourceOf(gates, job).dailyCap]));
  if (caps.size === 0 || gates.day === null) return { jobs, accounts: new Set() };
  const used = await store.lockQuota(tx, [...caps.keys()], gates.day);
  const room = new Map([...caps].map(([accountId, cap]) => [accountId, roomToday(cap, used.get(accountId) ?? 0)]));
  const within = jobs.filter((job) => {
    if (job.kind !== SendKind.broadcast) return true;
    const accountId = sourceOf(gates, job).accountId;
    const left = room.get(accountId)!;
    if (left <= 0) answers.set(keyOf(job), { outcome: "wait", reason: "quota" });
    else room.set(accountId, left - 1);
    return left > 0;
  });
  return { jobs: within, accounts: new Set(caps.keys()) };
}

/** How many manual messages the day still allows; a cap of 0 is none. */
export function roomToday(cap: number, used: number): number {
  return cap === 0 ? Number.POSITIVE_INFINITY : Math.max(0, cap - used);
}

function sourceOf(gates: Gates, job: SendKey): SourceRow {
  return gates.sources.get(job.sourceId)!;
}

interface MoveContext {
  day: string | null;
  offsetMs: number;
  options: ClaimOptions;
  deltas: CounterDeltas;
  answers: Answers;
}

/** @returns what is to be taken from the accounts' days. */
async function moveAdmitted(
  tx: TransactionSql,
  admitted: Admitted,
  gates: Gates,
  context: MoveContext,
): Promise<QuotaChange[]> {
  const input = claimInput(admitted.jobs, gates, context);
  const claimed = await store.updateToSending(tx, input);
  const dropped = claimed.length < admitted.jobs.length ? await store.updateToDropped(tx, input) : [];
  recordClaimed(claimed, admitted.jobs, gates, input.token, context);
  recordDropped(dropped, context.deltas, context.answers);
  return quotaChanges(claimed, gates, context.day);
}

function claimInput(jobs: SendJob[], gates: Gates, { day, offsetMs, options }: MoveContext): store.ClaimInput {
  const ids = new Set(jobs.map((job) => job.sourceId));
  const sources = [...ids].map((sourceId) => {
    const source = gates.sources.get(sourceId)!;
    const rescueMs = source.media === "" ? options.rescueMs.text : options.rescueMs.media;
    return { ...source, rescueMs };
  });
  const sorted = [...jobs].sort((a, b) => a.sourceId - b.sourceId || a.leadId - b.leadId || a.entry - b.entry);
  return { token: options.token ?? randomToken(), day, offsetMs, jobs: sorted, sources };
}

function recordClaimed(rows: ClaimedRow[], jobs: SendJob[], gates: Gates, token: number, context: MoveContext): void {
  const kinds = new Map(jobs.map((job) => [keyOf(job), job.kind]));
  for (const row of rows) {
    const key = keyOf(row);
    const source = gates.sources.get(row.sourceId)!;
    const kind = kinds.get(key)!;
    const send: ClaimedSend = Object.assign(row, {
      kind,
      accountId: source.accountId,
      token,
      quotaDay: kind === SendKind.broadcast ? context.day : null,
      body: source,
      bot: gates.bots.get(row.botId)!,
    });
    context.deltas.move("claim", row, SendState.queued, SendState.sending);
    context.answers.set(key, { outcome: "claimed", send });
  }
}

interface QuotaChange {
  accountId: number;
  day: string;
  used: number;
}

function quotaChanges(claimed: ClaimedRow[], gates: Gates, day: string | null): QuotaChange[] {
  if (day === null) return [];
  const used = new Map<number, number>();
  for (const row of claimed) {
    const source = gates.sources.get(row.sourceId)!;
    if (source.status < 0) used.set(source.accountId, (used.get(source.accountId) ?? 0) + 1);
  }
  return [...used].map(([accountId, n]) => ({ accountId, day, used: n }));
}

async function dropRefused(
  tx: TransactionSql,
  refused: (SendJob & { reason: SendReason })[],
  offsetMs: number,
  deltas: CounterDeltas,
  answers: Answers,
): Promise<void> {
  recordDropped(await store.updateSourceToDropped(tx, refused, offsetMs), deltas, answers);
}

function recordDropped(rows: store.DroppedRow[], deltas: CounterDeltas, answers: Answers): void {
  for (const row of rows) {
    deltas.move("drop", row, SendState.queued, SendState.dropped);
    answers.set(keyOf(row), { outcome: "dropped", reason: row.reason });
  }
}
