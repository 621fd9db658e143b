/** How many messages an account may have queued: Start asks, and whatever else puts many of them into the queue. */
import type { TransactionSql } from "#services/core/database/client.ts";
import { readCounters } from "#services/core/ledger/counters.ts";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";
import * as store from "./store.ts";

/** A ledger of as many rows is some 4 GB, and takes 30 messages a second a week. */
export const MAX_QUEUED = 20_000_000;

/**
 * How many more may be queued, as far as it is known without a lock: it spares the work of a Start that has no room.
 * Throws DomainError LIMIT_REACHED if there is no room at all.
 */
export async function queueRoom(tx: TransactionSql, accountId: number, maxQueued: number): Promise<number> {
  const queued = await countQueued(tx, accountId);
  if (queued >= maxQueued) throw full(queued, maxQueued);
  return maxQueued - queued;
}

/**
 * Decides, after the rows were written and before they are committed. The account is held from here on: of two Starts side
 * by side the second one sees what the first has queued. It is the last lock that a transaction takes.
 */
export async function requireQueueRoom(tx: TransactionSql, accountId: number, maxQueued: number): Promise<void> {
  await store.lockAccount(tx, accountId);
  const queued = await countQueued(tx, accountId);
  if (queued > maxQueued) throw full(queued, maxQueued);
}

/** Both kinds, on the wire included. */
async function countQueued(tx: TransactionSql, accountId: number): Promise<number> {
  const counters = await readCounters(tx, await store.selectQueuedSources(tx, accountId));
  return [...counters.values()].reduce((sum, row) => sum + row.queued + row.sending, 0);
}

function full(queued: number, maxQueued: number): DomainError {
  const [had, max] = [queued, maxQueued].map((number) => number.toLocaleString("en-US"));
  return new DomainError(
    ErrorReason.LIMIT_REACHED,
    `Your account would have ${had} messages in the queue, and ${max} is the most: choose fewer leads, or wait until others are sent.`,
  );
}
