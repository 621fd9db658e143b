/**
 * What is no longer needed goes in the background: a bounded batch per short transaction, oldest first, found by an index,
 * with a rest between two, so that sending never waits for it. Several processes may run it: batches skip locked rows.
 *
 * | what | goes |
 * | --- | --- |
 * | rows of ended generations (Reset, Delete) | at once |
 * | settled follow-ups | 30 days after they were settled |
 * | sessions | when they have expired |
 * | media that no block and no broadcast uses | 7 days after the upload |
 * | quota days | after 90 days |
 * | holds that are over | after a day |
 * | audit entries | after 400 days; addresses in them after 30 |
 */

import * as partitions from "#services/core/audit/partitions.ts";
import type { Sql } from "#services/core/database/client.ts";
import { pruneFollowUps, pruneRetired } from "#services/core/ledger/prune.ts";
import type { Clock } from "#services/platform/clock.ts";
import * as store from "./store.ts";

export interface RetentionOptions {
  sql: Sql;
  clock: Clock;
  onError: (error: unknown) => void;
  /** Between two rounds with nothing to do. Default 10 s. */
  idleMs?: number;
}

/** Between two batches while there is more: leaves the database at least half of the time. */
const REST_MS = 20;
const IDLE_MS = 10_000;
/** Ended generations are looked for this often: their owner has just pressed Reset or Delete. */
const RETIRED_MS = 1_000;

/** Each deletes one batch and says whether there may be more now. */
const TASKS: readonly ((sql: Sql) => Promise<boolean>)[] = [
  pruneFollowUps,
  store.deleteExpiredSessions,
  store.deleteUnusedMedia,
  store.deleteOldQuotaDays,
  store.deletePastHolds,
  partitions.makeMonths,
  partitions.dropPastMonth,
  partitions.deleteOldEntries,
  partitions.forgetAddresses,
];

/** Cleans until the signal aborts. What fails is reported and tried again in the next round. */
export async function runRetention(options: RetentionOptions, signal: AbortSignal): Promise<void> {
  await Promise.all([
    repeat([pruneRetired], RETIRED_MS, options, signal),
    repeat(TASKS, options.idleMs ?? IDLE_MS, options, signal),
  ]);
}

async function repeat(
  tasks: readonly ((sql: Sql) => Promise<boolean>)[],
  idleMs: number,
  { sql, clock, onError }: RetentionOptions,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    let more = false;
    for (const task of tasks) {
      if (signal.aborted) return;
      const left = await task(sql).catch((error) => {
        onError(error);
        return false;
      });
      more ||= left;
    }
    await clock.sleep(more ? REST_MS : idleMs, signal);
  }
}
