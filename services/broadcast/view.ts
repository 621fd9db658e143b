/** What a caller sees of broadcasts: rows with their counters, total and remaining. */
import type { Sql } from "#services/database/client.ts";
import { type Counters, readCounters } from "#services/ledger/counters.ts";
import { notYours } from "#services/platform/domain-error.ts";
import { BroadcastState } from "./broadcast.ts";
import type { BroadcastRow } from "./store.ts";
import * as store from "./store.ts";

/** Counters by lead, as the contract counts them: on the wire is queued, unconfirmed is failed. */
export interface LeadCounters {
  queued: number;
  sent: number;
  failed: number;
  unconfirmed: number;
  dropped: number;
}

export interface BroadcastView extends BroadcastRow {
  counters: LeadCounters;
  /** Only in a view of one broadcast. */
  remaining: number;
}

export function leadCounters(counters: Counters): LeadCounters {
  const { queued, sending, sent, failed, unconfirmed, dropped } = counters;
  return { queued: queued + sending, sent, failed: failed + unconfirmed, unconfirmed, dropped };
}

/** Newest first; `total` as stored at the last Start, `remaining` 0. */
export async function listBroadcasts(sql: Sql, accountId: number): Promise<BroadcastView[]> {
  const rows = await store.selectBroadcasts(sql, accountId);
  const counters = await readCounters(
    sql,
    rows.map((row) => row.sourceId),
  );
  return rows.map((row) => ({ ...row, counters: leadCounters(counters.get(row.sourceId)!), remaining: 0 }));
}

/**
 * One broadcast. While it is running, `total` is the audience of the last Start and `remaining` what is queued; otherwise
 * both are counted now. Throws DomainError NOT_YOURS.
 */
export async function getBroadcast(sql: Sql, accountId: number, broadcastId: number): Promise<BroadcastView> {
  const row = await store.selectBroadcast(sql, accountId, broadcastId);
  if (!row) throw notYours("broadcast");
  const counters = (await readCounters(sql, [row.sourceId])).get(row.sourceId)!;
  const view = { ...row, counters: leadCounters(counters) };
  if (row.state === BroadcastState.running) return { ...view, remaining: view.counters.queued };
  const [total, remaining] = await Promise.all([
    store.countAudience(sql, accountId, row),
    counters.enqueued === 0 ? undefined : store.countRemaining(sql, accountId, row, row.sourceId),
  ]);
  return { ...view, total, remaining: remaining ?? total };
}
