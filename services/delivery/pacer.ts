/**
 * One bot's pace: at most `limit` messages in any second, evenly spaced, one a second to each chat. Pure: time comes in,
 * the moment of the next send comes out. Two rules, and a send needs both:
 *
 * - the window: the sends of the last second are remembered, and the next one waits until fewer than `limit` of them are
 *   younger than a second and a guard. So whatever the event loop does, no second holds more than `limit`; a bucket that
 *   refills would let twice as many through;
 * - the plan: one interval after the other, so that sends are evenly spaced. A send that was late does not move the plan:
 *   after a stall those that are behind follow at four times the pace, as far as the window allows. All at once they would come
 *   at once again in every second that follows, because a full window repeats its own pattern. After a second without a
 *   send nothing is behind: a new plan begins.
 */

export interface PacerOptions {
  /** Messages in any second; Infinity lifts the pace. */
  limit: number;
  /** Added to the plan's second, against jitter on the way. With 8 ms a bot reaches 99.2 % of its limit. */
  guardMs?: number;
}

const SECOND_MS = 1000;
const DEFAULT_GUARD_MS = 8;

/** The window is stricter than the limit by less than the plan is: a timer that fires late by this much costs nothing. */
const TIMER_SLACK_MS = 2;

/** How far the plan may be behind: more than the window's second can never be caught up with. */
const MAX_BEHIND_MS = SECOND_MS;

/**
 * The shortest spacing when catching up, in intervals; where these are shorter than a timer's slack, there is none. With
 * a stall of up to 50 ms at every tenth send a bot reaches 98.7 % of its limit so, 99.1 % without any spacing, and 94.5 %
 * without catching up.
 */
const CATCH_UP_SPACING = 0.25;

/** What a 429 leaves of the pace, how low it can go, and how much of the full pace comes back per second. */
const SLOW_DOWN = 0.75;
const SLOWEST = 0.1;
const RECOVERY_PER_SECOND = 0.01;

export class Pacer {
  #limit: number;
  readonly #guardMs: number;
  /** Moments of sends, oldest first; those before `#first` are forgotten. */
  #sentAt: number[] = [];
  #first = 0;
  /** The next place in the plan; it lies in the past while the bot is behind. */
  #plannedMs = Number.NEGATIVE_INFINITY;
  #spacedMs = Number.NEGATIVE_INFINITY;
  #factor = 1;
  /** From when the factor recovers. */
  #slowUntilMs = Number.NEGATIVE_INFINITY;

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

  /** A new limit counts at once; all sends of the last second count against it. */
  setLimit(limit: number): void {
    this.#limit = limit;
  }

  /** The earliest moment for the next send; not after `nowMs` means now. */
  nextAt(nowMs: number): number {
    if (this.#limit === Number.POSITIVE_INFINITY) return nowMs;
    return Math.max(this.#windowFreeAt(), this.#plannedMs, this.#spacedMs);
  }

  /** When a second has passed since the last send: from then on somebody else may send for this bot. */
  quietAt(): number {
    return (this.#sentAt.at(-1) ?? Number.NEGATIVE_INFINITY) + this.#windowMs;
  }

  /** A request is being written at this moment, which is not before `nextAt`. */
  record(nowMs: number): void {
    if (this.#limit === Number.POSITIVE_INFINITY) return;
    this.#forget(nowMs - this.#windowMs);
    const isBusy = this.#first < this.#sentAt.length;
    this.#sentAt.push(nowMs);
    const intervalMs = (SECOND_MS + this.#guardMs) / this.rate(nowMs);
    const due = isBusy ? Math.max(this.#plannedMs, nowMs - MAX_BEHIND_MS) : nowMs;
    this.#plannedMs = due + intervalMs;
    this.#spacedMs = nowMs + Math.max(0, intervalMs * CATCH_UP_SPACING - TIMER_SLACK_MS);
  }

  /**
   * The request whose place was recorded last has just been written. A process that was kept from running in between has
   * written it late, and the window counts from then.
   */
  wrote(nowMs: number): void {
    const last = this.#sentAt.length - 1;
    if (last >= this.#first && nowMs > this.#sentAt[last]!) this.#sentAt[last] = nowMs;
  }

  /**
   * The Bot API said 429 and wants no call before `resumeMs`: slower from then on, and back to full pace over the next
   * half minute. The 429s of one burst count once.
   */
  slowDown(nowMs: number, resumeMs = nowMs): void {
    if (nowMs >= this.#slowUntilMs) this.#factor = Math.max(SLOWEST, this.#factorAt(nowMs) * SLOW_DOWN);
    this.#slowUntilMs = Math.max(this.#slowUntilMs, resumeMs, nowMs + SECOND_MS);
  }

  get #windowMs(): number {
    return SECOND_MS + Math.max(0, this.#guardMs - TIMER_SLACK_MS);
  }

  #windowFreeAt(): number {
    const blocking = this.#sentAt.length - this.#limit;
    return blocking < this.#first ? Number.NEGATIVE_INFINITY : this.#sentAt[blocking]! + this.#windowMs;
  }

  #forget(untilMs: number): void {
    while (this.#first < this.#sentAt.length && this.#sentAt[this.#first]! <= untilMs) this.#first++;
    if (this.#first <= 64 || this.#first * 2 < this.#sentAt.length) return;
    this.#sentAt = this.#sentAt.slice(this.#first);
    this.#first = 0;
  }

  #factorAt(nowMs: number): number {
    const recovered = (Math.max(0, nowMs - this.#slowUntilMs) / SECOND_MS) * RECOVERY_PER_SECOND;
    return Math.min(1, this.#factor + recovered);
  }
}

/** One message a second to one chat. */
export class ChatPacer {
  readonly #sentAt = new Map<number, number>();
  /** The last place that was promised to sends of a chat which had to go back. */
  readonly #promised = new Map<number, number>();

  constructor(readonly intervalMs = SECOND_MS + DEFAULT_GUARD_MS) {}

  /** The earliest moment for the next message to this chat. */
  nextAt(chatId: number): number {
    const sentAt = this.#sentAt.get(chatId);
    return sentAt === undefined ? Number.NEGATIVE_INFINITY : sentAt + this.intervalMs;
  }

  record(chatId: number, nowMs: number): void {
    forgetOld(this.#sentAt, nowMs - this.intervalMs);
    this.#sentAt.delete(chatId);
    this.#sentAt.set(chatId, nowMs);
  }

  /** A later place in this chat's second, another one for each who asks. */
  promise(chatId: number, nowMs: number): number {
    forgetOld(this.#promised, nowMs);
    const after = Math.max(nowMs, this.nextAt(chatId), this.#promised.get(chatId) ?? nowMs);
    this.#promised.delete(chatId);
    this.#promised.set(chatId, after + this.intervalMs);
    return after + this.intervalMs;
  }
}

/** Insertion order is, near enough, order of time: what is over stands in front. */
function forgetOld(moments: Map<number, number>, untilMs: number): void {
  for (const [chatId, moment] of moments) {
    if (moment > untilMs) break;
    moments.delete(chatId);
  }
}
