/**
 * Writes results. Each is kept until Postgres has taken it, however long that is away; while it does not, or while too many
 * wait, nothing new is sent.
 *
 * Invariant: a message is acknowledged only after its result is committed, so what is acked is never in doubt.
 */
import type { Sql } from "#services/database/client.ts";
import type { DatabaseClock } from "#services/ledger/database-clock.ts";
import { type Settlement, settleSends } from "#services/ledger/settle.ts";
import type { Clock } from "#services/platform/clock.ts";
import { killPoint } from "#services/platform/kill-points.ts";

export interface SettlerOptions {
  sql: Sql;
  clock: Clock;
  databaseClock?: DatabaseClock;
  onError: (error: unknown) => void;
  /** Called after each write, with how many results it held. */
  onWritten?: (count: number) => void;
}

/** Results in one transaction, at most. */
const MAX_BATCH = 500;
/** Results that may wait before sending pauses. */
const MAX_WAITING = 2_000;
/** Results that come within this are written together. */
const GROUP_MS = 5;
const RETRY_MS = 250;

interface Waiting {
  settlement: Settlement;
  ack: () => void;
}

export class Settler {
  readonly #options: SettlerOptions;
  #waiting: Waiting[] = [];
  #writing = 0;
  #failing = false;
  #loop: Promise<void> | undefined;
  #accepted = new Map<number, number>();
  #idle = Promise.withResolvers<void>();

  constructor(options: SettlerOptions) {
    this.#options = options;
    this.#idle.resolve();
  }

  /** Whether results cannot be written fast enough, or at all: send nothing new. */
  get blocked(): boolean {
    return this.#failing || this.#waiting.length >= MAX_WAITING;
  }

  /** Results that are not committed yet. */
  get pending(): number {
    return this.#waiting.length + this.#writing;
  }

  /** Keeps the result until it is written, then calls `ack`. */
  push(settlement: Settlement, ack: () => void): void {
    if (this.pending === 0) this.#idle = Promise.withResolvers();
    this.#waiting.push({ settlement, ack });
    this.#loop ??= this.#run();
  }

  /** Resolves when everything pushed so far is written. */
  async flush(): Promise<void> {
    while (this.pending > 0) await this.#idle.promise;
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    while (this.#waiting.length > 0) {
      if (this.#waiting.length < MAX_BATCH) await clock.sleep(GROUP_MS);
      await this.#writeBatch();
    }
    this.#loop = undefined;
    this.#idle.resolve();
  }

  async #writeBatch(): Promise<void> {
    const batch = this.#waiting.splice(0, MAX_BATCH);
    this.#writing = batch.length;
    try {
      const { sql, databaseClock } = this.#options;
      const settlements = batch.map((item) => item.settlement);
      await settleSends(settlements, { sql, clock: databaseClock, acceptedRevisions: this.#accepted });
      this.#failing = false;
      this.#forgetOldRevisions();
      killPoint("ack.before");
      for (const { ack } of batch) ack();
      killPoint("ack.after");
      this.#options.onWritten?.(batch.length);
    } catch (error) {
      this.#failing = true;
      // A note that was made in the transaction that failed may not have been written.
      this.#accepted.clear();
      this.#options.onError(error);
      this.#waiting.unshift(...batch);
      await this.#options.clock.sleep(RETRY_MS);
    } finally {
      this.#writing = 0;
    }
  }

  #forgetOldRevisions(): void {
    if (this.#accepted.size > 10_000) this.#accepted.clear();
  }
}
