/**
 * One bot's lane: what waits for its pace, what has been claimed for its next places, and what is on the wire.
 *
 * ```
 *   queued ──take──► (claim) ──admit──► ready ──its place in the pace──► in flight ──► settled
 *      └─ hold, drain: acked unsent       └─ hold, drain: put back
 * ```
 *
 * Only as much is claimed ahead as will be written within a moment, and only as much is in flight as the Bot API's latency
 * asks for: so a Bot API that stops answering, or a crash, leaves few sends in doubt.
 */
import { type ClaimedSend, keyOf, type SendJob } from "#services/core/ledger/claim.ts";
import { SendKind, SendReason, shardOf } from "#services/core/ledger/send.ts";
import type { Jitter } from "./jitter.ts";
import { ChatPacer, Pacer, type Place } from "./pacer.ts";

/** A job that came by JetStream, with its acknowledgement. */
export interface QueuedJob {
  job: SendJob;
  ack: () => void;
  /** How often its gate was found shut. */
  gateTries?: number;
}

export interface ReadySend {
  send: ClaimedSend;
  ack: () => void;
}

/** A send that is to be written now. */
export interface PlacedSend extends ReadySend {
  place: Place;
}

export interface LaneOptions {
  limit: number;
  guardMs?: number;
  chatIntervalMs?: number;
  /** What all bots have learnt of it. */
  jitter?: Jitter;
}

/** Requests on the wire: as many as pace × latency asks for, twice over, within these bounds. */
const MIN_IN_FLIGHT = 4;
const MAX_IN_FLIGHT = 1_000;
const FIRST_LATENCY_MS = 200;
/** Weight of the newest latency in the moving average. */
const LATENCY_WEIGHT = 0.1;

export class Lane {
  readonly shard: number;
  readonly pacer: Pacer;
  readonly #chats: ChatPacer;
  readonly #followUps = new Fifo<QueuedJob>();
  readonly #broadcasts = new Fifo<QueuedJob>();
  readonly #keys = new Set<string>();
  readonly #ready: ReadySend[] = [];
  inFlight = 0;
  /** Being claimed at this moment. */
  claiming = 0;
  /** Lost answers and refused connections in a row; any readable answer ends them. */
  failuresInRow = 0;
  usedAtMs = 0;
  /** Until then a 429 stands, whatever else is lifted. */
  rateLimitedUntilMs = Number.NEGATIVE_INFINITY;
  #heldUntilMs = Number.NEGATIVE_INFINITY;
  /** When it was last held. */
  heldAtMs = Number.NEGATIVE_INFINITY;
  #holdReason: SendReason = SendReason.rateLimited;
  #claimAfterMs = Number.NEGATIVE_INFINITY;
  #latencyMs = FIRST_LATENCY_MS;

  constructor(
    readonly botId: number,
    options: LaneOptions,
  ) {
    this.shard = shardOf(botId);
    this.pacer = new Pacer(options);
    this.#chats = new ChatPacer(options.chatIntervalMs);
  }

  get queuedCount(): number {
    return this.#followUps.size + this.#broadcasts.size;
  }

  get readyCount(): number {
    return this.#ready.length;
  }

  /** Whether anything of this lane is claimed and not settled by us yet. */
  get busy(): boolean {
    return this.#ready.length > 0 || this.inFlight > 0 || this.claiming > 0;
  }

  /** Whether it may be forgotten: nothing is in it and nothing holds it. */
  isIdleAt(nowMs: number): boolean {
    const held = this.holdAt(nowMs) !== undefined || nowMs < this.rateLimitedUntilMs;
    return !this.busy && this.queuedCount === 0 && !held;
  }

  /** @returns false if this job waits here already. */
  enqueue(item: QueuedJob): boolean {
    const key = keyOf(item.job);
    if (this.#keys.has(key)) return false;
    this.#keys.add(key);
    (item.job.kind === SendKind.followUp ? this.#followUps : this.#broadcasts).push(item);
    return true;
  }

  /** How many jobs may be claimed now, when claims are made `aheadMs` before their place in the pace. */
  wants(nowMs: number, aheadMs: number): number {
    if (this.queuedCount === 0 || this.holdAt(nowMs) !== undefined || nowMs < this.#claimAfterMs) return 0;
    if (this.pacer.nextAt(nowMs) - nowMs > aheadMs) return 0;
    const rate = this.pacer.rate(nowMs);
    const ahead = Math.min(MAX_IN_FLIGHT, Math.ceil((rate * aheadMs) / 1000));
    // Those that wait for their chat's second are no reason to let the others wait.
    const soon = this.#ready.filter(({ send }) => this.#chats.nextAt(send.chatId) - nowMs <= aheadMs).length;
    const room = this.#maxInFlight(rate) - this.inFlight;
    return Math.max(0, Math.min(ahead, room) - soon - this.claiming);
  }

  /** Nothing is claimed before then: the gate of what comes next is shut for a moment. */
  claimAfter(momentMs: number): void {
    this.#claimAfterMs = momentMs;
  }

  #maxInFlight(rate: number): number {
    const wanted = Math.ceil((2 * Math.min(rate, 100_000) * this.#latencyMs) / 1000);
    return Math.min(MAX_IN_FLIGHT, Math.max(MIN_IN_FLIGHT, wanted));
  }

  /** The next jobs to claim, follow-ups first. */
  take(count: number): QueuedJob[] {
    const followUps = this.#followUps.take(count);
    const taken = [...followUps, ...this.#broadcasts.take(count - followUps.length)];
    for (const { job } of taken) this.#keys.delete(keyOf(job));
    return taken;
  }

  /** Everything that waits, for acking it unsent. */
  takeAll(): QueuedJob[] {
    return this.take(this.queuedCount);
  }

  /**
   * Takes a claimed send, one per chat: another one of a chat would only wait here for a second, claimed.
   * @returns undefined, or in how many milliseconds this chat has a place for it.
   */
  admit(item: ReadySend, nowMs: number): number | undefined {
    const { chatId } = item.send;
    const taken = this.#ready.some(({ send }) => send.chatId === chatId);
    if (taken && this.#chats.intervalMs > 0) return this.#chats.promise(chatId, nowMs) - nowMs;
    this.#ready.push(item);
    return undefined;
  }

  /** When the next ready send may be written; Infinity if none is ready. */
  nextWriteAt(nowMs: number): number {
    let chatFreeAt = Number.POSITIVE_INFINITY;
    for (const { send } of this.#ready) chatFreeAt = Math.min(chatFreeAt, this.#chats.nextAt(send.chatId));
    return Math.max(this.pacer.nextAt(nowMs), chatFreeAt);
  }

  /** Takes the first ready send whose chat is free, and its place in the pace: the request is to be written now. */
  takeReady(nowMs: number): PlacedSend | undefined {
    if (this.holdAt(nowMs) !== undefined || this.pacer.nextAt(nowMs) > nowMs) return undefined;
    const index = this.#ready.findIndex(({ send }) => this.#chats.nextAt(send.chatId) <= nowMs);
    if (index < 0) return undefined;
    const [item] = this.#ready.splice(index, 1);
    this.#chats.record(item!.send.chatId, nowMs);
    return { ...item!, place: this.pacer.record(nowMs) };
  }

  /** When a send to this chat, which is in no queue here, may be written; it takes the chat's place. */
  promiseChat(chatId: number, nowMs: number): number {
    const atMs = Math.max(nowMs, this.#chats.nextAt(chatId));
    this.#chats.record(chatId, atMs);
    return atMs;
  }

  /** Everything that is claimed and not written, for putting it back. */
  takeAllReady(): ReadySend[] {
    return this.#ready.splice(0);
  }

  /** Nothing is written before then; the longer of two holds counts. */
  hold(nowMs: number, untilMs: number, reason: SendReason): void {
    this.heldAtMs = nowMs;
    if (untilMs < this.#heldUntilMs) return;
    this.#heldUntilMs = untilMs;
    this.#holdReason = reason;
  }

  /** Why nothing may be written now; undefined if it may. */
  holdAt(nowMs: number): SendReason | undefined {
    return nowMs < this.#heldUntilMs ? this.#holdReason : undefined;
  }

  /** Ends the hold, but for what is left of a 429's. */
  release(): void {
    this.failuresInRow = 0;
    this.#heldUntilMs = this.rateLimitedUntilMs;
    this.#holdReason = SendReason.rateLimited;
  }

  noteLatency(ms: number): void {
    this.#latencyMs += (ms - this.#latencyMs) * LATENCY_WEIGHT;
  }
}

/** First in, first out, with thousands in it: taking from the front of an array moves all the others. */
class Fifo<T> {
  #items: T[] = [];
  #first = 0;

  get size(): number {
    return this.#items.length - this.#first;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  take(count: number): T[] {
    const taken = this.#items.slice(this.#first, this.#first + count);
    this.#first += taken.length;
    if (this.#first * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#first);
      this.#first = 0;
    }
    return taken;
  }
}
