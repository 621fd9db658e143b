/**
 * Writes results. Each is kept until Postgres has taken it, however long that is away; while it does not, or while too many
 * wait, nothing new is sent.
 *
 * Invariant: a message is acknowledged only after its result is committed, so what is acked is never in doubt.
 */
import type { Sql } from "#services/core/database/client.ts";
import type { DatabaseClock } from "#services/core/ledger/database-clock.ts";
import type { StreakChange } from "#services/core/ledger/fault-streak.ts";
import { type Settlement, type StreakBots, settleSends } from "#services/core/ledger/settle.ts";
import type { Clock } from "#services/platform/clock.ts";
import { killPoint } from "#services/platform/kill-points.ts";

export interface SettlerOptions {
  sql: Sql;
  clock: Clock;
  databaseClock?: DatabaseClock;
  onError: (error: unknown) => void;
  /** Bots that may have a streak of refusals; see known-streaks.ts. Default: any may. */
  streaks?: StreakBots;
  onStreaks?: (change: StreakChange) => void;
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
/** Sources whose accepted revision is remembered. */
const MAX_REVISIONS = 10_000;

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
  readonly #accepted = new Map<number, number>();

  constructor(options: SettlerOptions) {
    this.#options = options;
  }

  /** Whether the last write failed: nothing may be sent, because its result could not be written. */
  get failing(): boolean {
    return this.#failing;
  }

  /** Whether results cannot be written fast enough, or at all: claim nothing new. */
  get blocked(): boolean {
    return this.#failing || this.#waiting.length >= MAX_WAITING;
  }

  /** Results that are not committed yet. */
  get pending(): number {
    return this.#waiting.length + this.#writing;
  }

  /** Keeps the result until it is written, then calls `ack`. */
  push(settlement: Settlement, ack: () => void): void {
    this.#waiting.push({ settlement, ack });
    this.#loop ??= this.#run();
  }

  /** Resolves when nothing is left to write. */
  async flush(): Promise<void> {
    while (this.#loop) await this.#loop;
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    while (this.#waiting.length > 0) {
      if (this.#waiting.length < MAX_BATCH) await clock.sleep(GROUP_MS);
      await this.#writeBatch();
    }
    this.#loop = undefined;
  }

  async #writeBatch(): Promise<void> {
    const batch = this.#waiting.splice(0, MAX_BATCH);
    this.#writing = batch.length;
    try {
      const { sql, clock, databaseClock, streaks, onStreaks } = this.#options;
      const settlements = batch.map((item) => item.settlement);
      const monotonicMs = () => clock.monotonicMs();
      const known = { acceptedRevisions: this.#accepted, streaks };
      await settleSends(settlements, { sql, clock: databaseClock, monotonicMs, ...known, onStreaks });
    } catch (error) {
      this.#failing = true;
      this.#options.onError(error);
      this.#waiting.unshift(...batch);
      this.#writing = 0;
      await this.#options.clock.sleep(RETRY_MS);
      return;
    }
    this.#failing = false;
    this.#writing = 0;
    this.#finish(batch);
  }

  /** It is committed: an ack that fails changes nothing, and must not make it be written again. */
  #finish(batch: Waiting[]): void {
    if (this.#accepted.size > MAX_REVISIONS) this.#accepted.clear();
    killPoint("ack.before");
    for (const { ack } of batch) {
      try {
        ack();
      } catch (error) {
        this.#options.onError(error);
      }
    }
    killPoint("ack.after");
    this.#options.onWritten?.(batch.length);
  }
}
