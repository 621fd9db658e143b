/** What a caller sees of broadcasts: rows with their counters, total and remaining. */
import type { Sql } from "#services/core/database/client.ts";
import { type Counters, readCounters } from "#services/core/ledger/counters.ts";
import { countRemaining } from "#services/core/ledger/enqueue.ts";
import { notYours } from "#services/platform/domain-error.ts";
import { BroadcastState } from "./broadcast.ts";
import type { BroadcastHead, BroadcastRow } from "./store.ts";
import * as store from "./store.ts";

/** Counters by lead, as the contract counts them: on the wire is queued, unconfirmed is failed. */
export interface LeadCounters {
  queued: number;
  sent: number;
  failed: number;
  unconfirmed: number;
  dropped: number;
}

/** One broadcast. */
export type BroadcastView = BroadcastRow & { counters: LeadCounters; remaining: number };

/** One of a list: without its body. */
export type ListedBroadcast = BroadcastHead & { counters: LeadCounters };

export function leadCounters(counters: Counters): LeadCounters {
  const { queued, sending, sent, failed, unconfirmed, dropped } = counters;
  return { queued: queued + sending, sent, failed: failed + unconfirmed, unconfirmed, dropped };
}

/** Broadcasts in one page at most, and if none is asked for: one takes its reader a few milliseconds. */
export const MAX_PAGE = 250;
/** A page ends early at this many campaigns, so that broadcasts to a thousand each make no larger pages than others. */
const MAX_PAGE_CAMPAIGNS = 4_000;

export interface Page {
  /** Newest first; `total` as stored at the last Start. */
  broadcasts: ListedBroadcast[];
  /** Where the next page begins; 0 if there is nothing more. */
  nextBeforeId: number;
}

/** The account's broadcasts with ids below `beforeId` (0: from the newest on), `limit` at most (0: a page). */
export async function listBroadcasts(
  sql: Sql,
  accountId: number,
  { limit = 0, beforeId = 0 }: { limit?: number; beforeId?: number } = {},
): Promise<Page> {
  const asked = Math.min(limit || MAX_PAGE, MAX_PAGE);
  // One more says whether there is a next page.
  const found = await store.selectHeads(sql, accountId, {
    limit: asked + 1,
    beforeId: beforeId || Number.MAX_SAFE_INTEGER,
  });
  const heads = found.slice(0, asked);
  const [scopes, counters] = await Promise.all([
    readScopes(
      sql,
      heads.map((head) => head.id),
    ),
    readCounters(
      sql,
      heads.map((head) => head.sourceId),
    ),
  ]);
  const page = heads.filter(({ id }) => id > scopes.completeAbove);
  const broadcasts = page.map((head) => ({
    ...head,
    campaignIds: scopes.campaignIds.get(head.id) ?? [],
    counters: leadCounters(counters.get(head.sourceId)!),
  }));
  return { broadcasts, nextBeforeId: page.length < found.length ? broadcasts.at(-1)!.id : 0 };
}

/** The scopes of broadcasts, newest first; above `completeAbove` each is whole. No broadcast has as many as are read. */
async function readScopes(sql: Sql, broadcastIds: number[]) {
  const rows = await store.selectScopes(sql, broadcastIds, MAX_PAGE_CAMPAIGNS);
  const campaignIds = new Map<number, number[]>();
  for (const { broadcastId, campaignId } of rows.toReversed()) {
    const ids = campaignIds.get(broadcastId) ?? [];
    ids.push(campaignId);
    campaignIds.set(broadcastId, ids);
  }
  const cut = rows.length < MAX_PAGE_CAMPAIGNS ? undefined : rows.at(-1);
  return { campaignIds, completeAbove: cut?.broadcastId ?? 0 };
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
    counters.enqueued === 0 ? undefined : countRemaining(sql, row.sourceId, store.audienceOf(accountId, row)),
  ]);
  return { ...view, total, remaining: remaining ?? total };
}
