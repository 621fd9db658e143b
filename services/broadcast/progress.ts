/**
 * How far a broadcast is and how fast it goes. The rate is taken from samples of the counters that this process makes once
 * a second for every open broadcast, so that asking costs nothing extra; nothing else depends on them.
 */

import { DUPLICATE_MESSAGE } from "#services/core/bot/number.ts";
import type { Sql } from "#services/core/database/client.ts";
import { type Counters, readCounters } from "#services/core/ledger/counters.ts";
import { type DatabaseClock, databaseClock } from "#services/core/ledger/database-clock.ts";
import { HoldReason } from "#services/core/ledger/send.ts";
import type { Clock } from "#services/platform/clock.ts";
import { notYours } from "#services/platform/domain-error.ts";
import { BroadcastState } from "./broadcast.ts";
import * as store from "./store.ts";
import { type LeadCounters, leadCounters } from "./view.ts";

/** What queued messages wait for; the numbers are those of `WaitReason` in the protobuf. */
export const WaitReason = { paused: 1, quota: 2, entitlement: 3, bot: 4 } as const;
export type WaitReason = (typeof WaitReason)[keyof typeof WaitReason];

export interface Waiting {
  reason: WaitReason;
  botId: number;
  until: Date | null;
  message: string;
}

export interface Progress {
  state: BroadcastState;
  counters: LeadCounters;
  pauseReason: string;
  waiting: Waiting[];
  ratePerSecond: number;
  etaSeconds: number | undefined;
}

const SAMPLE_INTERVAL_MS = 1000;
const RATE_WINDOW_MS = 10_000;
/** Open broadcasts that are sampled at most: the newest ones. */
const MAX_SAMPLED = 2000;

interface Sample {
  atMs: number;
  tried: number;
}

export class ProgressMeter {
  readonly #sql: Sql;
  readonly #clock: Clock;
  readonly #databaseClock: DatabaseClock;
  readonly #samples = new Map<number, Sample[]>();

  constructor(options: { sql: Sql; clock: Clock; databaseClock?: DatabaseClock }) {
    this.#sql = options.sql;
    this.#clock = options.clock;
    this.#databaseClock = options.databaseClock ?? databaseClock;
  }

  /** Samples until the signal aborts. A database that is away costs samples, nothing more. */
  async run(signal: AbortSignal, onError: (error: unknown) => void): Promise<void> {
    while (!signal.aborted) {
      await this.sample().catch(onError);
      await this.#clock.sleep(SAMPLE_INTERVAL_MS, signal);
    }
  }

  async sample(): Promise<void> {
    const open = await store.selectOpenSources(this.#sql, MAX_SAMPLED);
    const counters = await readCounters(this.#sql, open);
    const atMs = this.#clock.monotonicMs();
    for (const sourceId of this.#samples.keys()) if (!counters.has(sourceId)) this.#samples.delete(sourceId);
    for (const [sourceId, row] of counters) {
      const kept = (this.#samples.get(sourceId) ?? []).filter((sample) => sample.atMs > atMs - RATE_WINDOW_MS);
      this.#samples.set(sourceId, [...kept, { atMs, tried: triedOf(row) }]);
    }
  }

  /** Throws DomainError NOT_YOURS. */
  async progressOf(accountId: number, broadcastId: number): Promise<Progress> {
    const row = await store.selectBroadcast(this.#sql, accountId, broadcastId);
    if (!row) throw notYours("broadcast");
    const counters = (await readCounters(this.#sql, [row.sourceId])).get(row.sourceId)!;
    const ratePerSecond = row.state === BroadcastState.running ? this.#rateOf(row.sourceId, counters) : 0;
    const left = counters.queued + counters.sending;
    return {
      state: row.state,
      counters: leadCounters(counters),
      pauseReason: row.pauseReason,
      waiting: left > 0 ? await this.#waitingOf(row) : [],
      ratePerSecond,
      etaSeconds: etaOf(left, ratePerSecond),
    };
  }

  #rateOf(sourceId: number, now: Counters): number {
    const oldest = this.#samples.get(sourceId)?.[0];
    if (!oldest) return 0;
    const seconds = (this.#clock.monotonicMs() - oldest.atMs) / 1000;
    return seconds < 0.2 ? 0 : Math.max(0, Math.round(((triedOf(now) - oldest.tried) / seconds) * 10) / 10);
  }

  async #waitingOf(row: store.BroadcastRow): Promise<Waiting[]> {
    if (row.state === BroadcastState.paused) {
      return [{ reason: WaitReason.paused, botId: 0, until: null, message: row.pauseReason || "Paused by its owner." }];
    }
    if (row.state !== BroadcastState.running) return [];
    const offsetMs = this.#databaseClock.offsetMs();
    const [account, lanes] = await Promise.all([
      store.selectStanding(this.#sql, row.accountId, offsetMs),
      store.selectHeldBots(this.#sql, row.accountId, offsetMs),
    ]);
    return [...accountWaits(account), ...lanes.map(laneWait)];
  }
}

function triedOf(counters: Counters): number {
  return counters.sent + counters.failed + counters.unconfirmed;
}

function etaOf(left: number, ratePerSecond: number): number | undefined {
  if (left === 0) return 0;
  return ratePerSecond > 0 ? Math.ceil(left / ratePerSecond) : undefined;
}

function accountWaits(account: store.Standing | undefined): Waiting[] {
  if (!account) return [];
  const waits: Waiting[] = [];
  if (!account.paid) waits.push(entitlementWait("The subscription is not active."));
  else if (!account.feature) waits.push(entitlementWait("Broadcasts are not part of the tariff."));
  if (account.cap > 0 && account.used >= account.cap) {
    const message = `The day's ${account.cap} messages are used; sending goes on at 00:00 UTC.`;
    waits.push({ reason: WaitReason.quota, botId: 0, until: account.midnight, message });
  }
  return waits;
}

function entitlementWait(message: string): Waiting {
  return { reason: WaitReason.entitlement, botId: 0, until: null, message };
}

const HOLD_MESSAGES: Record<HoldReason, string> = {
  [HoldReason.none]: "",
  [HoldReason.rateLimited]: "Telegram asked the bot to slow down.",
  [HoldReason.tokenDead]: "Telegram refuses the bot's token: replace it. It is asked about again every 10 minutes.",
  [HoldReason.breaker]: "The Bot API does not answer as it should; one message at a time is tried until it does.",
  [HoldReason.operator]: "An operator holds the bot.",
  [HoldReason.botFault]:
    "Telegram refuses one lead after another; one message at a time is tried until it accepts one.",
  [HoldReason.restored]: "The database was restored; an operator has to accept it.",
  [HoldReason.duplicate]: DUPLICATE_MESSAGE,
};

/** What Telegram said is the customer's to know; what an operator wrote is not. */
function laneWait(lane: store.HeldBot): Waiting {
  const said = lane.reason === HoldReason.botFault ? ` ${lane.message}` : "";
  const message = HOLD_MESSAGES[lane.reason] + said;
  return { reason: WaitReason.bot, botId: lane.botId, until: lane.until, message };
}
