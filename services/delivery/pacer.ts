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
 *
 * What counts for the Bot API is when a request arrives. The window counts from when it was really written, which on a new
 * connection is after its handshakes. Jitter beyond that shows only as a 429: the guard grows by it, and shrinks slowly. A 429
 * soon after that means that the limit is lower than we think, and the pace falls.
 */
import { Jitter } from "./jitter.ts";

export interface PacerOptions {
  /** Messages in any second; Infinity lifts the pace. */
  limit: number;
  /** Added to the plan's second, against jitter on the way. With 8 ms a bot reaches 99.2 % of its limit. */
  guardMs?: number;
  /** What all bots have learnt; added to the guard where this one has learnt less. */
  jitter?: Jitter;
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

/** A 429 this soon after the last one's end is not for jitter. */
const SOON_MS = 5_000;

/** What such a 429 leaves of the pace, how low it can go, and how much of the full pace comes back per second. */
const SLOW_DOWN = 0.75;
const SLOWEST = 0.1;
const RECOVERY_PER_SECOND = 0.01;

/** One send's place in the window. */
export interface Place {
  atMs: number;
}

export class Pacer {
  #limit: number;
  readonly #guardMs: number;
  /** Sends, oldest first; those before `#first` are forgotten. */
  #sent: Place[] = [];
  #first = 0;
  /** The next place in the plan; it lies in the past while the bot is behind. */
  #plannedMs = Number.NEGATIVE_INFINITY;
  #spacedMs = Number.NEGATIVE_INFINITY;
  #factor = 1;
  /** What the guard has grown by. */
  readonly #own = new Jitter();
  readonly #shared: Jitter | undefined;
  /** From when the factor recovers. */
  #slowUntilMs = Number.NEGATIVE_INFINITY;

  constructor(options: PacerOptions) {
    this.#limit = options.limit;
    this.#guardMs = options.guardMs ?? DEFAULT_GUARD_MS;
    this.#shared = options.jitter;
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
    return Math.max(this.#windowFreeAt(nowMs), this.#plannedMs, this.#spacedMs);
  }

  /** When a second has passed since the last send: from then on somebody else may send for this bot. */
  quietAt(): number {
    const last = this.#sent.at(-1)?.atMs;
    return last === undefined ? Number.NEGATIVE_INFINITY : last + this.#windowMs(last);
  }

  /** A request is being written at this moment, which is not before `nextAt`. */
  record(nowMs: number): Place {
    const place = { atMs: nowMs };
    if (this.#limit === Number.POSITIVE_INFINITY) return place;
    this.#forget(nowMs - this.#windowMs(nowMs));
    const isBusy = this.#first < this.#sent.length;
    this.#insert(place);
    const intervalMs = (SECOND_MS + this.#guardAt(nowMs)) / this.rate(nowMs);
    const due = isBusy ? Math.max(this.#plannedMs, nowMs - MAX_BEHIND_MS) : nowMs;
    this.#plannedMs = due + intervalMs;
    this.#spacedMs = nowMs + Math.max(0, intervalMs * CATCH_UP_SPACING - TIMER_SLACK_MS);
    return place;
  }

  /**
   * The request of this place has just been written: later than recorded where its connection had to be opened, or this
   * process was kept from running. The window counts from now.
   */
  wrote(place: Place, nowMs: number): void {
    if (nowMs <= place.atMs || this.#limit === Number.POSITIVE_INFINITY) return;
    const index = this.#sent.lastIndexOf(place);
    if (index >= this.#first) this.#sent.splice(index, 1);
    place.atMs = nowMs;
    this.#insert(place);
  }

  /**
   * The Bot API said 429 and wants no call before `resumeMs`: from then on with a wider guard, and if that was not enough
   * slower, back to full pace over the next half minute. The 429s of one burst count once.
   */
  slowDown(nowMs: number, resumeMs = nowMs): void {
    if (nowMs >= this.#slowUntilMs) {
      if (nowMs < this.#slowUntilMs + SOON_MS) this.#factor = Math.max(SLOWEST, this.#factorAt(nowMs) * SLOW_DOWN);
      else this.#factor = this.#factorAt(nowMs);
      this.#own.grow(nowMs, Math.max(resumeMs, nowMs + SECOND_MS));
    }
    this.#slowUntilMs = Math.max(this.#slowUntilMs, resumeMs, nowMs + SECOND_MS);
  }

  #guardAt(nowMs: number): number {
    return this.#guardMs + Math.max(this.#own.at(nowMs), this.#shared?.at(nowMs) ?? 0);
  }

  #windowMs(nowMs: number): number {
    return SECOND_MS + Math.max(0, this.#guardAt(nowMs) - TIMER_SLACK_MS);
  }

  #windowFreeAt(nowMs: number): number {
    const blocking = this.#sent.length - this.#limit;
    return blocking < this.#first ? Number.NEGATIVE_INFINITY : this.#sent[blocking]!.atMs + this.#windowMs(nowMs);
  }

  #insert(place: Place): void {
    let index = this.#sent.length;
    while (index > this.#first && this.#sent[index - 1]!.atMs > place.atMs) index--;
    this.#sent.splice(index, 0, place);
  }

  #forget(untilMs: number): void {
    while (this.#first < this.#sent.length && this.#sent[this.#first]!.atMs <= untilMs) this.#first++;
    if (this.#first <= 64 || this.#first * 2 < this.#sent.length) return;
    this.#sent = this.#sent.slice(this.#first);
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
