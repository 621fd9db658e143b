/**
 * A broadcast's gate: who may claim its sends right now.
 *
 * Claims hold the gate shared, from before they read the broadcast until they commit; Start, Pause, Resume, Cancel, Reset
 * and Delete hold it exclusively. So what a claim reads of the broadcast stays true while it claims, and once Pause has
 * returned nothing more is claimed.
 *
 * It is an advisory lock rather than the broadcast's row FOR SHARE, because row locks are not fair: a new FOR SHARE joins
 * the present holders past a waiting UPDATE, and two delivery replicas that claim without a gap between them starve Pause
 * for as long as they have work. The lock manager refuses a `try` while somebody waits for the exclusive lock, so Pause
 * waits for at most the claims that are under way. A claim never waits: where the gate is shut it puts the message back.
 */
import type { TransactionSql } from "#services/core/database/client.ts";

/** High bits that keep these locks apart from other advisory locks of the same database. */
const GATE_LOCKS = 2 ** 48;

/** Shuts the gate until the transaction ends. Waits for the claims under way, which are a few milliseconds long. */
export async function shutGate(tx: TransactionSql, sourceId: number): Promise<void> {
  await tx`SELECT pg_advisory_xact_lock(${GATE_LOCKS + sourceId})`;
}

/** Passes through the gates that are not shut and holds them open until the transaction ends. */
export async function passGates(tx: TransactionSql, sourceIds: number[]): Promise<Set<number>> {
  if (sourceIds.length === 0) return new Set();
  const rows = await tx<{ sourceId: number; passed: boolean }[]>`
    SELECT k AS "sourceId", pg_try_advisory_xact_lock_shared(${GATE_LOCKS} + k) AS passed
    FROM unnest(${sourceIds}::bigint[]) AS k`;
  return new Set(rows.filter((row) => row.passed).map((row) => row.sourceId));
}
