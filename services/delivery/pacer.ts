/**
 * One bot's pace: at most `limit` messages in any second, evenly spaced, one a second to each chat. Pure: time comes in,
 * the moment of the next send comes out.
 *
 * It remembers the moments of the last `limit` sends and holds the next one until the oldest of them is a second and a
 * guard old. So whatever the event loop does, no window of a second holds more than `limit`; a bucket that refills would let
 * twice as many through. Sends are planned one interval after another; after a stall the plan is behind and the pacer
 * catches up, as far as the window allows and by one second's worth at most.
 */

export interface PacerOptions {
  /** Messages in any second; Infinity lifts the pace. */
  limit: number;
  /**
   * Added to the second, against the jitter between writing and arriving. With 8 ms and a limit of 30 a bot reaches 99.2 %
   * of its limit.
   */
  guardMs?: number;
}

const SECOND_MS = 1000;
const DEFAULT_GUARD_MS = 8;

/** What a 429 leaves of the pace, how low it can go, and how much of the full pace comes back per second. */
const SLOW_DOWN = 0.75;
const SLOWEST = 0.1;
const RECOVERY_PER_SECOND = 0.01;

export class Pacer {
  #limit: number;
  readonly #guardMs: number;
  /** The last `limit` sends, oldest first from `#oldest` on. */
  #sentAt: number[] = [];
  #oldest = 0;
  #plannedMs = Number.NEGATIVE_INFINITY;
  #factor = 1;
  #factorAtMs = 0;

  constructor(options: PacerOptions) {
    this.#limit = options.limit;
    this.#guardMs = options.guardMs ?? DEFAULT_GUARD_MS;
  }

  get limit(): number {
    return this.#limit;
  }

  /** Messages a second that are planned now: the limit, or less for a while after a 429. */
  rate(nowMs: number): number {
    return this.#limit * this.#factorAt(nowMs);
  }

  /** A new limit counts at once; the sends of the last second still count against it. */
  setLimit(limit: number): void {
    if (limit === this.#limit) return;
    const kept = this.#inOrder().slice(-Math.min(limit, this.#sentAt.length));
    this.#limit = limit;
    this.#sentAt = kept;
    this.#oldest = 0;
  }

  /** The earliest moment for the next send; not after `nowMs` means now. */
  nextAt(nowMs: number): number {
    if (this.#limit === Number.POSITIVE_INFINITY) return nowMs;
    const windowFree =
      this.#sentAt.length < this.#limit
        ? Number.NEGATIVE_INFINITY
        : this.#sentAt[this.#oldest]! + SECOND_MS + this.#guardMs;
    return Math.max(windowFree, this.#plannedMs);
  }

  /** A request is being written at this moment. */
  record(nowMs: number): void {
    if (this.#limit === Number.POSITIVE_INFINITY) return;
    if (this.#sentAt.length < this.#limit) this.#sentAt.push(nowMs);
    else {
      this.#sentAt[this.#oldest] = nowMs;
      this.#oldest = (this.#oldest + 1) % this.#limit;
    }
    const behind = Math.max(this.#plannedMs, nowMs - SECOND_MS);
    // A first send after a pause starts a new plan: there is nothing to catch up with.
    const from = this.#plannedMs < nowMs - SECOND_MS ? nowMs : behind;
    this.#plannedMs = from + (SECOND_MS + this.#guardMs) / this.rate(nowMs);
  }

  /** The Bot API said 429: slower from now on, and back to full pace over the next minute or so. */
  slowDown(nowMs: number): void {
    this.#factor = Math.max(SLOWEST, this.#factorAt(nowMs) * SLOW_DOWN);
    this.#factorAtMs = nowMs;
  }

  #factorAt(nowMs: number): number {
    if (this.#factor >= 1) return 1;
    return Math.min(1, this.#factor + ((nowMs - this.#factorAtMs) / SECOND_MS) * RECOVERY_PER_SECOND);
  }

  #inOrder(): number[] {
    return [...this.#sentAt.slice(this.#oldest), ...this.#sentAt.slice(0, this.#oldest)];
  }
}

/** One message a second to one chat. */
export class ChatPacer {
  readonly #sentAt = new Map<number, number>();

  constructor(readonly intervalMs = SECOND_MS + DEFAULT_GUARD_MS) {}

  /** The earliest moment for the next message to this chat. */
  nextAt(chatId: number): number {
    const sentAt = this.#sentAt.get(chatId);
    return sentAt === undefined ? Number.NEGATIVE_INFINITY : sentAt + this.intervalMs;
  }

  record(chatId: number, nowMs: number): void {
    // Insertion order is order of time, so what is over stands in front.
    for (const [chat, sentAt] of this.#sentAt) {
      if (sentAt + this.intervalMs > nowMs) break;
      this.#sentAt.delete(chat);
    }
    this.#sentAt.delete(chatId);
    this.#sentAt.set(chatId, nowMs);
  }
}
