/**
 * One bot's lane: what waits for its pace, what has been claimed for its next places, and what is on the wire.
 *
 * ```
 *   queued ──collect──► (claim) ──► ready ──its place in the pace──► in flight ──► settled
 *      └─ hold, drain: acked unsent        └─ hold, drain: put back
 * ```
 *
 * Only as much is claimed ahead as will be written within a moment, and only as much is in flight as the Bot API's latency
 * asks for: so a Bot API that stops answering, or a crash, leaves few sends in doubt.
 */
import type { ClaimedSend, SendJob } from "#services/ledger/claim.ts";
import { SendKind, shardOf } from "#services/ledger/send.ts";
import type { BotRow } from "#services/ledger/store.ts";
import { ChatPacer, Pacer } from "./pacer.ts";

/** A job that came by JetStream, with its acknowledgement. */
export interface QueuedJob {
  job: SendJob;
  ack: () => void;
}

export interface ReadySend {
  send: ClaimedSend;
  ack: () => void;
}

/** How far ahead of their place in the pace sends are claimed: time enough for a claim on a busy machine. */
const CLAIM_AHEAD_MS = 60;

/** Requests on the wire: as many as pace × latency asks for, twice over, within these bounds. */
const MIN_IN_FLIGHT = 4;
const MAX_IN_FLIGHT = 500;
const FIRST_LATENCY_MS = 200;
/** Weight of the newest latency in the moving average. */
const LATENCY_WEIGHT = 0.1;

export class Lane {
  readonly shard: number;
  readonly pacer: Pacer;
  readonly #chats: ChatPacer;
  readonly #followUps: QueuedJob[] = [];
  readonly #broadcasts: QueuedJob[] = [];
  readonly #keys = new Set<string>();
  ready: ReadySend[] = [];
  inFlight = 0;
  /** Being claimed at this moment. */
  claiming = 0;
  heldUntilMs = 0;
  /** Lost answers and refused connections in a row; any readable answer ends them. */
  unknownsInRow = 0;
  refusalsInRow = 0;
  #latencyMs = FIRST_LATENCY_MS;

  constructor(
    readonly botId: number,
    options: { limit: number; guardMs?: number; chatIntervalMs?: number },
  ) {
    this.shard = shardOf(botId);
    this.pacer = new Pacer(options);
    this.#chats = new ChatPacer(options.chatIntervalMs);
  }

  get queuedCount(): number {
    return this.#followUps.length + this.#broadcasts.length;
  }

  get idle(): boolean {
    return this.queuedCount === 0 && this.ready.length === 0 && this.inFlight === 0 && this.claiming === 0;
  }

  /** @returns false if this job waits here already. */
  enqueue(item: QueuedJob, key: string): boolean {
    if (this.#keys.has(key)) return false;
    this.#keys.add(key);
    (item.job.kind === SendKind.followUp ? this.#followUps : this.#broadcasts).push(item);
    return true;
  }

  /** How many jobs may be claimed now. */
  wants(nowMs: number): number {
    if (this.queuedCount === 0 || nowMs < this.heldUntilMs) return 0;
    const rate = this.pacer.rate(nowMs);
    const ahead = Math.min(MAX_IN_FLIGHT, Math.ceil((rate * CLAIM_AHEAD_MS) / 1000));
    const room = this.#maxInFlight(rate) - this.inFlight;
    const soon = this.pacer.nextAt(nowMs) - nowMs <= CLAIM_AHEAD_MS;
    return soon ? Math.max(0, Math.min(ahead, room) - this.ready.length - this.claiming) : 0;
  }

  #maxInFlight(rate: number): number {
    const wanted = Math.ceil((2 * Math.min(rate, 100_000) * this.#latencyMs) / 1000);
    return Math.min(MAX_IN_FLIGHT, Math.max(MIN_IN_FLIGHT, wanted));
  }

  /** The next jobs to claim, follow-ups first. */
  take(count: number, keyOf: (job: SendJob) => string): QueuedJob[] {
    const taken = this.#followUps.splice(0, count);
    if (taken.length < count) taken.push(...this.#broadcasts.splice(0, count - taken.length));
    for (const item of taken) this.#keys.delete(keyOf(item.job));
    return taken;
  }

  /** Everything that waits, for acking it unsent. */
  takeAll(): QueuedJob[] {
    this.#keys.clear();
    return [...this.#followUps.splice(0), ...this.#broadcasts.splice(0)];
  }

  /** When the next ready send may be written; Infinity if none is ready. */
  nextWriteAt(nowMs: number): number {
    if (this.ready.length === 0) return Number.POSITIVE_INFINITY;
    const chat = Math.min(...this.ready.map(({ send }) => this.#chats.nextAt(send.chatId)));
    return Math.max(this.pacer.nextAt(nowMs), chat);
  }

  /** Takes the first ready send whose chat is free, and its place in the pace: the request is to be written now. */
  takeReady(nowMs: number): ReadySend | undefined {
    if (this.pacer.nextAt(nowMs) > nowMs) return undefined;
    const index = this.ready.findIndex(({ send }) => this.#chats.nextAt(send.chatId) <= nowMs);
    if (index < 0) return undefined;
    const [item] = this.ready.splice(index, 1);
    this.pacer.record(nowMs);
    this.#chats.record(item!.send.chatId, nowMs);
    return item;
  }

  /** What the claim read of the bot: a changed limit counts at once. */
  adopt(bot: BotRow, limitOf: (bot: BotRow) => number): void {
    this.pacer.setLimit(limitOf(bot));
  }

  noteLatency(ms: number): void {
    this.#latencyMs += (ms - this.#latencyMs) * LATENCY_WEIGHT;
  }
}
