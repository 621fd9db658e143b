/**
 * The relay: publishes what is sendable now, and no more of it than a few seconds' work per bot. The ledger holds the
 * backlog, so a million queued rows cost the broker nothing, and Pause and Cancel have nothing to chase.
 *
 * A lane is one bot's follow-ups, or one bot's part of one running broadcast. Each tick, for every lane whose time has
 * come: read the head of its sendable rows (at most its window), publish those that are not marked, mark them. When
 * delivery says that half of it is done, or half should be gone at the bot's pace, the lane's time comes again. One bot's
 * window is shared by the broadcasts that run on it, and published in turns.
 *
 * A tick asks for the running broadcasts, the holds and delivery's leases, which are few. The bots of the accounts that broadcast are read when
 * a run or our shards have changed, and each second; the bots that have follow-ups due by the index of due rows. So bots for
 * which nothing is to be done cost nothing.
 *
 * Nothing here decides whether a lead is messaged: a message published twice, late or never changes only when.
 */

import type { Sql } from "#services/core/database/client.ts";
import type { SendJob } from "#services/core/ledger/claim.ts";
import { readCounters } from "#services/core/ledger/counters.ts";
import { type DatabaseClock, databaseClock } from "#services/core/ledger/database-clock.ts";
import { SendKind, SHARD_COUNT } from "#services/core/ledger/send.ts";
import { inTransaction } from "#services/core/ledger/transaction.ts";
import type { Clock } from "#services/platform/clock.ts";
import { killPoint } from "#services/platform/kill-points.ts";
import { selectHopelessBroadcasts } from "./bot-fault-store.ts";
import { reviewBroadcast } from "./life-cycle.ts";
import {
  IDLE_MS,
  type Lane,
  lookAtOnce,
  type MarkKey,
  markKey,
  maySend,
  planNextLook,
  RelayLanes,
} from "./relay-lanes.ts";
import type { RelayBot, RunningBroadcast } from "./relay-store.ts";
import * as store from "./relay-store.ts";

export interface RelayOptions {
  sql: Sql;
  clock: Clock;
  databaseClock?: DatabaseClock;
  /** The shards that this relay may publish for at this moment. */
  shards: () => number[];
  /** Publishes in order; resolves with what was acknowledged. Never throws. */
  publish: (jobs: SendJob[]) => Promise<{ published: SendJob[]; failed: SendJob[] }>;
  onError: (error: unknown) => void;
  /** Between ticks. Default 100. */
  tickMs?: number;
  /**
   * Messages of one bot that may be published and not claimed: seconds of its pace, and a bound. Defaults 10 and 2,000; less
   * where so many bots send that the stream could not hold them all.
   */
  windowSeconds?: number;
  maxWindow?: number;
  /** What the stream can hold, over all relays. Default 200,000: 16 MiB of messages of 72 bytes, less some. */
  streamMessages?: number;
}

const MIN_WINDOW = 30;
/** See `streamMessages`. Above what it can hold the stream drops the oldest. */
const STREAM_MESSAGES = 200_000;
/** Whether a broadcast is finished, or must pause, is asked this often. */
const REVIEW_MS = 500;
/** The bots of accounts that broadcast are read again after this, for their pace may have been changed. */
const BOTS_MS = 1_000;
/** Between two looks for bots with follow-ups due: the second where there are so many bots that a look takes a while. */
const DUE_MS = { min: 250, max: 500, perMsTaken: 20 };
/** Lanes that delivery says are low within this are read together. */
const LOW_GROUP_MS = 12;

/** A job that is to be published, with its lane. */
interface Item {
  lane: Lane;
  job: SendJob;
}

export class Relay {
  readonly #options: RelayOptions;
  readonly #lanes = new RelayLanes();
  readonly #low = new Set<Lane>();
  #nap = new AbortController();
  #reviewAtMs = 0;
  #running: RunningBroadcast[] = [];
  /** Those of the accounts that broadcast, and of what they were read for. */
  #bots = { key: "", readAtMs: 0, byAccount: new Map<number, RelayBot[]>() };
  #due: { atMs: number; bots: RelayBot[]; key: string } = { atMs: 0, bots: [], key: "" };
  /** What the lanes were made of. */
  #lanesKey = "";

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  /** Ticks until the signal aborts, and fills up in between what delivery says is low. What fails is tried again. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, onError, tickMs = 100 } = this.#options;
    signal.addEventListener("abort", () => this.#nap.abort(), { once: true });
    while (!signal.aborted) {
      const tickAtMs = clock.monotonicMs() + tickMs;
      await this.tick().catch(onError);
      do {
        await clock.sleep(Math.min(LOW_GROUP_MS, tickMs), signal);
        if (this.#low.size === 0) await this.#napUntil(tickAtMs, signal);
        if (!signal.aborted) await this.refillLow().catch(onError);
      } while (!signal.aborted && clock.monotonicMs() < tickAtMs);
    }
  }

  /** Until then, or until delivery says that a lane is low. */
  async #napUntil(atMs: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    this.#nap = new AbortController();
    if (!signal.aborted) await clock.sleep(Math.max(0, atMs - clock.monotonicMs()), this.#nap.signal);
  }

  /** Delivery acked these without sending them: they may be published again as soon as they are sendable. */
  unmark(jobs: readonly SendJob[]): void {
    for (const job of jobs) {
      const lane = this.#lanes.of(job);
      if (!lane) {
        // A lane with nothing due is forgotten; this may be due again.
        if (job.kind === SendKind.followUp) this.#due.atMs = 0;
        continue;
      }
      lane.marks.unmark(markKey(job));
      lookAtOnce(lane);
    }
  }

  /** Delivery has done half of what it had of these. Where nothing is left behind the window this changes nothing. */
  low(lanes: readonly { kind: SendKind; botId: number }[]): void {
    for (const { kind, botId } of lanes) {
      for (const lane of this.#lanes.ofBot(botId)) {
        if (lane.hasMore && (lane.broadcast === undefined) === (kind === SendKind.followUp)) this.#low.add(lane);
      }
    }
    if (this.#low.size > 0) this.#nap.abort();
  }

  async tick(): Promise<void> {
    const { sql, shards, clock } = this.#options;
    const held = shards();
    if (held.length === 0) return this.#forgetAll();
    const offsetMs = this.#offsetMs();
    const [running, heldBots, ownerFences] = await Promise.all([
      store.selectRunning(sql, offsetMs),
      store.selectHeldBots(sql, offsetMs),
      store.selectOwnerFences(sql),
    ]);
    await this.#readBots(running, held);
    await this.#readDue(held, offsetMs);
    this.#updateLanes(running, heldBots, ownerFences);
    const now = clock.monotonicMs();
    await this.#refill([...this.#lanes.all()].filter((lane) => lane.nextAtMs <= now));
    await this.#review(now);
  }

  /** Fills up the lanes that delivery has said are low, as the last tick knew them. */
  async refillLow(): Promise<void> {
    // One that is gone meanwhile, or in another era, is none of the lanes any more.
    const low = [...this.#low].filter((lane) => this.#lanes.ofBot(lane.bot.botId).includes(lane));
    this.#low.clear();
    await this.#refill(low);
  }

  #offsetMs(): number {
    return (this.#options.databaseClock ?? databaseClock).offsetMs();
  }

  #forgetAll(): void {
    this.#lanes.clear();
    this.#low.clear();
    this.#lanesKey = "";
    this.#bots.key = "";
    this.#due.atMs = 0;
  }

  /** After the running broadcasts: a bot that a Start has seen is seen. */
  async #readBots(running: readonly RunningBroadcast[], shards: readonly number[]): Promise<void> {
    const { sql, clock } = this.#options;
    const now = clock.monotonicMs();
    const sending = running.filter(maySend);
    const key = JSON.stringify([sending.map(({ sourceId, run }) => [sourceId, run]), shards]);
    if (key === this.#bots.key && (sending.length === 0 || now < this.#bots.readAtMs + BOTS_MS)) return;
    const accounts = [...new Set(sending.map((broadcast) => broadcast.accountId))];
    const bots = accounts.length === 0 ? [] : await store.selectBotsOfAccounts(sql, accounts, [...shards]);
    this.#bots = { key, readAtMs: now, byAccount: Map.groupBy(bots, (bot) => bot.accountId) };
    this.#lanesKey = "";
  }

  async #readDue(shards: readonly number[], offsetMs: number): Promise<void> {
    const { sql, clock } = this.#options;
    const startedAt = clock.monotonicMs();
    if (startedAt < this.#due.atMs) return;
    const bots = await inTransaction(sql, (tx) => store.selectBotsWithDue(tx, [...shards], offsetMs));
    const tookMs = clock.monotonicMs() - startedAt;
    const restMs = Math.min(DUE_MS.max, Math.max(DUE_MS.min, tookMs * DUE_MS.perMsTaken));
    const key = bots.map(({ botId, messagesPerSecond }) => `${botId}:${messagesPerSecond}`).join();
    this.#due = { atMs: startedAt + restMs, bots, key };
  }

  #updateLanes(running: RunningBroadcast[], heldBots: readonly number[], ownerFences: readonly number[]): void {
    const eras = running.map((b) => [b.sourceId, b.run, b.epoch, b.revision, maySend(b)]);
    const key = JSON.stringify([eras, heldBots, ownerFences, this.#due.key]);
    if (key === this.#lanesKey) {
      // The same broadcasts in the same order; the room of their day and what was accepted may have changed.
      for (const [i, broadcast] of running.entries()) Object.assign(this.#running[i]!, broadcast);
      return;
    }
    this.#running = running;
    this.#lanesKey = key;
    const held = new Set(heldBots);
    const { byAccount: botsByAccount } = this.#bots;
    this.#lanes.update({ running, botsByAccount, dueBots: this.#due.bots, held, ownerFences });
  }

  async #refill(lanes: readonly Lane[]): Promise<void> {
    if (lanes.length === 0) return;
    await this.#refillFollowUps(lanes.filter((lane) => lane.broadcast === undefined));
    await this.#refillBroadcasts(lanes.filter((lane) => lane.broadcast !== undefined));
  }

  async #refillFollowUps(lanes: readonly Lane[]): Promise<void> {
    if (lanes.length === 0) return;
    const wanted = lanes.map(({ bot }) => ({ botId: bot.botId, limit: this.#windowOf(bot) }));
    const due = await inTransaction(this.#options.sql, (tx) => store.selectDueFollowUps(tx, wanted, this.#offsetMs()));
    const byBot = Map.groupBy(due, (job) => job.botId);
    const batch = lanes.flatMap((lane, i) => {
      const head = byBot.get(lane.bot.botId) ?? [];
      return this.#unpublished(lane, head, { headLength: head.length, limit: wanted[i]!.limit });
    });
    await this.#publish(batch);
  }

  async #refillBroadcasts(lanes: readonly Lane[]): Promise<void> {
    if (lanes.length === 0) return;
    const wanted = lanes.map(({ bot, broadcast }) => {
      const { sourceId, run, revision, acceptedRevision, room } = broadcast!;
      const limit = Math.max(1, Math.min(room, this.#windowOf(bot)));
      return { sourceId, botId: bot.botId, run, revision, acceptedRevision, limit };
    });
    const heads = await inTransaction(this.#options.sql, (tx) =>
      store.selectBroadcastHeads(tx, wanted, this.#offsetMs()),
    );
    for (const [i, lane] of lanes.entries()) lane.headLength = heads[i]!.length;
    const perLane = lanes.map((lane, i) => {
      const { sourceId, botId, limit } = wanted[i]!;
      const share = Math.ceil(this.#windowOf(lane.bot) / this.#lanes.sharers(botId));
      const head = heads[i]!.slice(0, share).map((leadId) => broadcastJob(sourceId, botId, leadId));
      return this.#unpublished(lane, head, { headLength: heads[i]!.length, limit: Math.min(limit, share) });
    });
    await this.#publish(inTurns(perLane));
  }

  #windowOf(bot: RelayBot): number {
    const { windowSeconds = 10, maxWindow = 2_000, streamMessages = STREAM_MESSAGES, shards } = this.#options;
    const window = Math.min(maxWindow, Math.max(MIN_WINDOW, Math.ceil(bot.messagesPerSecond * windowSeconds)));
    const ours = (streamMessages * shards().length) / SHARD_COUNT;
    return Math.max(1, Math.min(window, Math.floor(ours / this.#lanes.botCount)));
  }

  /** The head's jobs that are to be published now; also says when the lane's time comes again. */
  #unpublished(lane: Lane, head: SendJob[], { headLength, limit }: { headLength: number; limit: number }): Item[] {
    const now = this.#options.clock.monotonicMs();
    const byKey = new Map(head.map((job) => [markKey(job), job]));
    lane.headLength = headLength;
    lane.hasMore = headLength >= limit;
    const fresh = lane.marks.unpublished([...byKey.keys()], now, isBehind(lane, head));
    planNextLook(lane, { length: head.length, fresh: fresh.length }, now);
    return fresh.map((key) => ({ lane, job: byKey.get(key)! }));
  }

  async #publish(items: Item[]): Promise<void> {
    if (items.length === 0) return;
    const { clock, publish } = this.#options;
    killPoint("mark.before");
    // Before the publish: delivery may ack one unsent, and say so, while others of its batch are still under way.
    for (const { lane, job } of items) lane.marks.mark(markKey(job), clock.monotonicMs());
    killPoint("mark.after");
    const { failed } = await publish(items.map(({ job }) => job));
    for (const job of failed) {
      const lane = this.#lanes.of(job);
      lane?.marks.unmark(markKey(job));
      if (lane) lane.nextAtMs = clock.monotonicMs() + IDLE_MS;
    }
  }

  /** Broadcasts that have nothing sendable here may be finished, or stuck on their body. */
  async #review(now: number): Promise<void> {
    if (now < this.#reviewAtMs) return;
    this.#reviewAtMs = now + REVIEW_MS;
    const { sql, onError } = this.#options;
    const busy = new Set([...this.#lanes.all()].map((lane) => lane.headLength > 0 && lane.broadcast?.sourceId));
    const idle = this.#running.filter((broadcast) => !busy.has(broadcast.sourceId));
    const counters = await readCounters(
      sql,
      idle.map((broadcast) => broadcast.sourceId),
    );
    const finished = idle.filter(({ sourceId }) => isFinished(counters.get(sourceId)));
    const hopeless = await selectHopelessBroadcasts(sql);
    const due = [...new Set([...finished, ...this.#running.filter(hasFaults)]), ...hopeless];
    for (const broadcast of due) {
      await reviewBroadcast(sql, broadcast.accountId, broadcast.id).catch(onError);
    }
  }
}

function isFinished(counters: { queued: number; sending: number } | undefined): boolean {
  return counters !== undefined && counters.queued + counters.sending === 0;
}

/** Leads met a fault of the present body, and nobody has received it. */
function hasFaults(broadcast: RunningBroadcast): boolean {
  const { faultLeads, faultRevision, revision, acceptedRevision } = broadcast;
  return faultLeads > 0 && faultRevision === revision && acceptedRevision < revision;
}

/** Heads of broadcasts are by lead: what lies behind one that was cut to the lane's share may be published and waiting still. */
function isBehind(lane: Lane, head: SendJob[]): (key: MarkKey) => boolean {
  const last = head.at(-1)?.leadId;
  if (last === undefined || head.length === lane.headLength) return () => false;
  return (key) => Number(key) > last;
}

function broadcastJob(sourceId: number, botId: number, leadId: number): SendJob {
  return { kind: SendKind.broadcast, botId, sourceId, leadId, entry: 0 };
}

/** One of each list, then the next of each: broadcasts of one bot take turns. */
function inTurns(lists: Item[][]): Item[] {
  const turns: Item[] = [];
  let left = lists.filter((list) => list.length > 0);
  for (let i = 0; left.length > 0; i++) {
    for (const list of left) turns.push(list[i]!);
    left = left.filter((list) => list.length > i + 1);
  }
  return turns;
}
