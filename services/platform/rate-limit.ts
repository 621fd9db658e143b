/**
 * How many calls of one caller are taken in a while. Counted in memory and for this copy of the process alone: two
 * copies take twice as many. It bounds load and is no promise about amounts, which Postgres decides.
 */
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";

export interface RateLimitOptions {
  /** Calls of one key in each window. */
  readonly calls: number;
  readonly windowSeconds: number;
  /**
   * Keys that are told apart in one window. Whoever comes after that is counted under one key together: memory stays
   * bounded although strangers can choose their keys. Default 50,000, some 20 MB.
   */
  readonly maxKeys?: number;
}

const DEFAULT_MAX_KEYS = 50_000;
const REST_KEY = "(all others)";

export class RateLimit {
  readonly #limiter: RateLimiterMemory;
  readonly #calls: number;
  readonly #windowMs: number;
  readonly #maxKeys: number;
  /** Keys of this window and of the one before: a key's own window may have begun at any moment of them. */
  #keys = new Set<string>();
  #keysBefore = new Set<string>();
  #turnAtMs = 0;

  constructor({ calls, windowSeconds, maxKeys = DEFAULT_MAX_KEYS }: RateLimitOptions) {
    this.#limiter = new RateLimiterMemory({ points: calls, duration: windowSeconds });
    this.#calls = calls;
    this.#windowMs = windowSeconds * 1000;
    this.#maxKeys = maxKeys;
  }

  /** Counts a call. @returns 0 if it is within the limit, otherwise after how many seconds the next one may come. */
  async take(key: string): Promise<number> {
    try {
      await this.#limiter.consume(this.#counted(key));
      return 0;
    } catch (refusal) {
      if (refusal instanceof RateLimiterRes) return secondsUntilNext(refusal);
      throw refusal;
    }
  }

  /** As `take`, without counting. */
  async look(key: string): Promise<number> {
    const result = await this.#limiter.get(this.#knows(key) ? key : REST_KEY);
    return result !== null && result.consumedPoints > this.#calls ? secondsUntilNext(result) : 0;
  }

  #knows(key: string): boolean {
    return this.#keys.has(key) || this.#keysBefore.has(key) || this.#keys.size < this.#maxKeys;
  }

  #counted(key: string): string {
    const nowMs = performance.now();
    if (nowMs >= this.#turnAtMs) {
      this.#keysBefore = nowMs < this.#turnAtMs + this.#windowMs ? this.#keys : new Set();
      this.#keys = new Set();
      this.#turnAtMs = nowMs + this.#windowMs;
    }
    if (!this.#knows(key)) return REST_KEY;
    this.#keys.add(key);
    return key;
  }
}

/** Rounded up, so that whoever waits as told is taken. */
function secondsUntilNext({ msBeforeNext }: RateLimiterRes): number {
  return Math.max(1, Math.ceil(msBeforeNext / 1000));
}
