/**
 * Who shows a session's token or a webhook's secret that this process has not seen to be right yet.
 *
 * Their checks share turns by address, so that an address that floods us with guesses waits behind itself alone. Guesses
 * that turn out wrong are counted by address; above the limit their refusals are `limit` and kept back. What is right
 * gets through whatever its address has done: behind one address may stand a whole company, or a proxy that nobody told
 * us of.
 */
import { addressBucket } from "#services/platform/client-address.ts";
import { FairTurns } from "#services/platform/fair-turns.ts";
import { RateLimit } from "#services/platform/rate-limit.ts";
import { limited, RestError } from "./rest-error.ts";

export interface StrangersOptions {
  readonly addressFailuresPerMinute: number;
}

/** One check: an RPC of some milliseconds. */
export interface Check<T> {
  /** Where it comes from. */
  readonly address: string;
  /** Whether this process has seen it to be right before: then it waits for nobody. */
  readonly known: boolean;
  readonly signal: AbortSignal;
  readonly work: () => Promise<T>;
  /** Whether what `work` threw says that token or secret are wrong. */
  readonly isWrong: (error: unknown) => boolean;
}

const turns = {
  maxRunning: 64,
  maxRunningPerKey: 8,
  maxWaitingPerKey: 500,
  maxWaiting: 5_000,
  maxWaitMs: 10_000,
  refusal: "Too many callers wait to be recognised: try again in a moment.",
};

export class Strangers {
  readonly #turns = new FairTurns(turns);
  readonly #failures: RateLimit;

  constructor({ addressFailuresPerMinute }: StrangersOptions) {
    this.#failures = new RateLimit({ calls: addressFailuresPerMinute, windowSeconds: 60 });
  }

  /**
   * Gives what the check gives.
   * Throws RestError `limit` for a wrong one above its address's limit, and DomainError RATE_LIMITED where too many wait.
   */
  async check<T>({ address, known, signal, work, isWrong }: Check<T>): Promise<T> {
    const bucket = addressBucket(address);
    try {
      return known ? await work() : await this.#turns.take(bucket, work, signal);
    } catch (error) {
      if (!isWrong(error)) throw error;
      const seconds = await this.#failures.take(bucket);
      if (seconds === 0) throw error;
      throw limited("Too many wrong tries from your address: check what you send, and wait.", seconds);
    }
  }

  /** Throws RestError `key`: kept back above the limit, and not `limit`, as its caller has to sign in and not to wait. */
  async refuseWithoutToken(address: string): Promise<never> {
    const heldBack = (await this.#failures.take(addressBucket(address))) > 0;
    throw new RestError("key", "Send the session's token as Authorization: Bearer <token>.", { heldBack });
  }
}

/** Remembers what was seen last, in bounded memory: names of sessions and hashes, never a token or a secret itself. */
export class Recent<V> {
  readonly #max: number;
  readonly #values = new Map<string, V>();

  constructor(max: number) {
    this.#max = max;
  }

  get(key: string): V | undefined {
    return this.#values.get(key);
  }

  /** Makes it the newest; the oldest one goes when there are too many. */
  set(key: string, value: V): void {
    this.#values.delete(key);
    this.#values.set(key, value);
    if (this.#values.size > this.#max) this.#values.delete(this.#values.keys().next().value!);
  }

  delete(key: string): void {
    this.#values.delete(key);
  }
}
