/**
 * Asks the ledger for a batch of claims, and disowns those of which nobody knows what became.
 *
 * A claim that failed may still have been committed, or be committed in a moment. Nothing was sent under its token, so
 * whatever stands under it is put back, twice: at once and after the COMMIT of a connection that broke has had its time.
 */
import type { Sql } from "#services/core/database/client.ts";
import { type ClaimAnswer, claimSends, randomToken } from "#services/core/ledger/claim.ts";
import type { DatabaseClock } from "#services/core/ledger/database-clock.ts";
import { SendReason } from "#services/core/ledger/send.ts";
import { UNKNOWN_ACCOUNT } from "#services/core/ledger/settle.ts";
import { LeaseRole } from "#services/core/shards/leases.ts";
import type { Clock } from "#services/platform/clock.ts";
import type { QueuedJob } from "./lane.ts";
import type { Settler } from "./settler.ts";
import type { Unsent } from "./unsent.ts";

export interface ClaimsOptions {
  sql: Sql;
  clock: Clock;
  databaseClock?: DatabaseClock;
  leases: { fences(): Map<number, number> };
  /** See restore.ts. */
  timeline?: () => number | undefined;
  settler: Settler;
  unsent: Unsent;
  /** How long claims may be silent before they are rescued. */
  rescueMs: { text: number; media: number };
  /** Aborted when the worker stops: what is to be disowned later is disowned then. */
  stopping: AbortSignal;
  onError: (error: unknown) => void;
}

/**
 * How far ahead of their place in the pace sends are claimed: two and a half claims, because what falls due during one
 * must have come with the one before it.
 */
const MIN_AHEAD_MS = 60;
const MAX_AHEAD_MS = 500;
const CLAIMS_AHEAD = 2.5;
const FIRST_CLAIM_MS = 8;
/** Weight of the newest claim's duration in the moving average. */
const CLAIM_WEIGHT = 0.2;
/** Until a claim that failed is disowned once more. */
const DISOWN_AGAIN_MS = 2_000;

export class Claims {
  readonly #options: ClaimsOptions;
  #claimMs = FIRST_CLAIM_MS;

  constructor(options: ClaimsOptions) {
    this.#options = options;
  }

  /** Milliseconds before its place in the pace that a send should be claimed, as fast as claims are at present. */
  get aheadMs(): number {
    return Math.min(MAX_AHEAD_MS, Math.max(MIN_AHEAD_MS, this.#claimMs * CLAIMS_AHEAD));
  }

  /**
   * Answers for each job, in order; undefined if nobody knows what became of the claim: then the jobs are done with.
   * @param options.trying passes the holds that end by trying.
   */
  async ask(batch: readonly QueuedJob[], { trying = false } = {}): Promise<ClaimAnswer[] | undefined> {
    const { sql, databaseClock, leases, rescueMs, onError, clock } = this.#options;
    const jobs = batch.map((item) => item.job);
    const token = randomToken();
    const startedAt = clock.monotonicMs();
    try {
      return await claimSends(jobs, {
        sql,
        clock: databaseClock,
        role: LeaseRole.delivery,
        leases: leases.fences(),
        timeline: this.#options.timeline?.(),
        rescueMs,
        token,
        trying,
      });
    } catch (error) {
      onError(error);
      this.#disown(batch, token);
      void this.#disownAgain(batch, token);
      return undefined;
    } finally {
      this.#claimMs += (clock.monotonicMs() - startedAt - this.#claimMs) * CLAIM_WEIGHT;
    }
  }

  /** Where nothing stands under the token, this settles nothing. */
  #disown(batch: readonly QueuedJob[], token: number): void {
    const { settler, unsent } = this.#options;
    for (const { job, ack } of batch) {
      const ticket = { ...job, token, chatId: 0, accountId: UNKNOWN_ACCOUNT, revision: 0 };
      const result = { result: "putBack", reason: SendReason.leaseLost } as const;
      settler.push({ ticket, result }, () => unsent.add([{ job, ack }]));
    }
  }

  async #disownAgain(batch: readonly QueuedJob[], token: number): Promise<void> {
    await this.#options.clock.sleep(DISOWN_AGAIN_MS, this.#options.stopping);
    const acked = batch.map(({ job }) => ({ job, ack: () => {} }));
    this.#disown(acked, token);
  }
}
