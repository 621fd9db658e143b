/**
 * Lets a bounded number of works run at once, and shares the turns out among keys (accounts, addresses), so that whoever
 * asks for much waits behind itself.
 *
 * A work is waiting → running → ended, or refused before it has begun: at once where its key or everybody waits for too
 * much already, and later where its turn does not come in time or its caller leaves. Invariants:
 *
 * 1. At most `maxRunning` run, and at most `maxRunningPerKey` of one key, or `maxBesideOthers` while another key is there:
 *    one that has asked for a turn within the last second. So who is alone has what there is, and gives it back at once.
 * 2. Nothing waits while it could run.
 * 3. A free turn goes to the key with the fewest running, and among those to the one that has waited longest since it
 *    was served; within a key first come, first served. So a key with one work is never behind another's second.
 * 4. A key without any work is forgotten: memory is bounded by what runs and waits.
 */
import { DomainError, ErrorReason } from "./domain-error.ts";

export interface FairTurnsOptions {
  /** Over all keys. */
  maxRunning: number;
  maxRunningPerKey: number;
  /** Of one key while another one is there; default as many as alone. */
  maxBesideOthers?: number;
  maxWaitingPerKey: number;
  /** Over all keys. */
  maxWaiting: number;
  /** A turn that has not come by then is refused. */
  maxWaitMs: number;
  /** What a refused caller is told. */
  refusal: string;
}

interface Waiter {
  /** Its turn has come, and has begun. */
  go: () => void;
}

interface Line {
  running: number;
  /** In the order in which they came. */
  readonly waiting: Set<Waiter>;
}

/** A key counts as there for this long after it has last asked. */
const PRESENCE_MS = 1_000;

interface Presence {
  key: string;
  atMs: number;
}

/** A second is long against a call; clients that wait as told then spread by themselves. */
const RETRY_AFTER_SECONDS = 1;

export class FairTurns {
  readonly #options: FairTurnsOptions;
  /** Whoever was served last is the last: a key goes to the end when a turn of it begins, and when one ends. */
  readonly #lines = new Map<string, Line>();
  #running = 0;
  /** Who has asked last, and who had before that one came. */
  #latest: Presence | undefined;
  #before: Presence | undefined;
  #waiting = 0;

  constructor(options: FairTurnsOptions) {
    this.#options = options;
  }

  /** How many keys are remembered. */
  get size(): number {
    return this.#lines.size;
  }

  /**
   * Runs `work` when it is its key's turn; not any more if the signal has aborted by then.
   * Throws DomainError RATE_LIMITED when it is refused.
   */
  async take<T>(key: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    this.#notePresence(key);
    const line = this.#lines.get(key) ?? { running: 0, waiting: new Set() };
    if (this.#running < this.#options.maxRunning && line.running < this.#shareOf(key)) this.#begin(key, line);
    else await this.#turn(key, line, signal);
    try {
      signal?.throwIfAborted();
      return await work();
    } finally {
      this.#end(key, line);
    }
  }

  #notePresence(key: string): void {
    const atMs = performance.now();
    if (this.#latest !== undefined && this.#latest.key !== key) this.#before = this.#latest;
    this.#latest = { key, atMs };
  }

  #shareOf(key: string): number {
    const { maxRunningPerKey, maxBesideOthers = maxRunningPerKey } = this.#options;
    const other = this.#latest?.key === key ? this.#before : this.#latest;
    const isAlone = other === undefined || performance.now() - other.atMs > PRESENCE_MS;
    return isAlone ? maxRunningPerKey : maxBesideOthers;
  }

  #begin(key: string, line: Line): void {
    this.#running += 1;
    line.running += 1;
    this.#toTheEnd(key, line);
  }

  #end(key: string, line: Line): void {
    this.#running -= 1;
    line.running -= 1;
    this.#toTheEnd(key, line);
    this.#forget(key, line);
    while (this.#waiting > 0 && this.#running < this.#options.maxRunning && this.#startNext()) {}
  }

  #toTheEnd(key: string, line: Line): void {
    this.#lines.delete(key);
    this.#lines.set(key, line);
  }

  #forget(key: string, line: Line): void {
    if (line.running === 0 && line.waiting.size === 0) this.#lines.delete(key);
  }

  #startNext(): boolean {
    const next = this.#nextLine();
    if (next === undefined) return false;
    const [key, line] = next;
    const [waiter] = line.waiting;
    this.#begin(key, line);
    waiter!.go();
    return true;
  }

  #nextLine(): [string, Line] | undefined {
    let best: [string, Line] | undefined;
    for (const entry of this.#lines) {
      const [key, line] = entry;
      if (line.waiting.size === 0 || line.running >= this.#shareOf(key)) continue;
      if (best === undefined || line.running < best[1].running) best = entry;
      if (line.running === 0) break;
    }
    return best;
  }

  /** Resolves when this work's turn has begun. */
  async #turn(key: string, line: Line, signal: AbortSignal | undefined): Promise<void> {
    const { maxWaitingPerKey, maxWaiting, maxWaitMs } = this.#options;
    if (line.waiting.size >= maxWaitingPerKey || this.#waiting >= maxWaiting) throw this.#refusal();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    // Whatever comes first takes it out of the line at once, so that nothing that comes later can end it again.
    const leave = (ending: () => void) => {
      if (!line.waiting.delete(waiter)) return;
      this.#waiting -= 1;
      this.#forget(key, line);
      ending();
    };
    const waiter = { go: () => leave(resolve) };
    const onAbort = () => leave(() => reject(signal?.reason));
    const timer = setTimeout(() => leave(() => reject(this.#refusal())), maxWaitMs);
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#lines.set(key, line);
    line.waiting.add(waiter);
    this.#waiting += 1;
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    }
  }

  #refusal(): DomainError {
    return new DomainError(ErrorReason.RATE_LIMITED, this.#options.refusal, { retryAfterSeconds: RETRY_AFTER_SECONDS });
  }
}
