/**
 * The relay: publishes what is sendable now, and no more of it than a few seconds' work per bot. The ledger holds the
 * backlog, so a million queued rows cost the broker nothing, and Pause and Cancel have nothing to chase.
 *
 * A lane is one bot's follow-ups, or one bot's part of one running broadcast. Each tick, for every lane whose time has
 * come: read the head of its sendable rows (at most its window), publish those that are not marked, mark them. When half
 * of the window should have gone at the bot's pace, the lane's time comes again. One bot's window is shared by the
 * broadcasts that run on it, and published in turns.
 *
 * Nothing here decides whether a lead is messaged: a message published twice, late or never changes only when.
 */

import type { Sql } from "#services/database/client.ts";
import type { SendJob } from "#services/ledger/claim.ts";
import { readCounters } from "#services/ledger/counters.ts";
import { type DatabaseClock, databaseClock } from "#services/ledger/database-clock.ts";
import { SendKind } from "#services/ledger/send.ts";
import type { Clock } from "#services/platform/clock.ts";
import { killPoint } from "#services/platform/kill-points.ts";
import { LaneMarks } from "./lane-marks.ts";
import { reviewBroadcast } from "./life-cycle.ts";
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
  /** Between ticks while there is work. Default 100. */
  tickMs?: number;
  /** Messages of one bot that may be published and not claimed: seconds of its pace, and a bound. Defaults 10 and 2,000. */
  windowSeconds?: number;
  maxWindow?: number;
}

/** A lane with nothing sendable is looked at this often: how long a Start or a follow-up waits at most. */
const IDLE_MS = 250;
/** A lane with work is looked at no later than this. */
const MAX_REFILL_MS = 2_000;
const MIN_WINDOW = 30;
/** Whether a broadcast is finished, or must pause, is asked this often. */
const REVIEW_MS = 500;

interface Lane {
  botId: number;
  /** Broadcast lanes: the run and epoch that the marks belong to. */
  era: string;
  marks: LaneMarks<string>;
  nextAtMs: number;
  /** Sendable rows in the head when it was last read. */
  headLength: number;
}

export class Relay {
  readonly #options: RelayOptions;
  readonly #lanes = new Map<string, Lane>();
  #reviewAtMs = 0;

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  /** Ticks until the signal aborts. What fails is reported and tried again. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, onError, tickMs = 100 } = this.#options;
    while (!signal.aborted) {
      await this.tick().catch(onError);
      await clock.sleep(tickMs, signal);
    }
  }

  /** Delivery acked these without sending them: they may be published again as soon as they are sendable. */
  unmark(jobs: readonly SendJob[]): void {
    for (const job of jobs) {
      const lane = this.#lanes.get(laneKey(job));
      if (!lane) continue;
      lane.marks.unmark(markKey(job));
      lane.nextAtMs = 0;
    }
  }

  async tick(): Promise<void> {
    const { sql, shards, clock } = this.#options;
    const held = shards();
    if (held.length === 0) return this.#lanes.clear();
    const offsetMs = (this.#options.databaseClock ?? databaseClock).offsetMs();
    const [running, bots] = await Promise.all([
      store.selectRunning(sql, offsetMs),
      store.selectRelayBots(sql, held, offsetMs),
    ]);
    const now = clock.monotonicMs();
    const live = new Set<string>();
    const followUps = this.#dueFollowUpLanes(bots, live, now);
    const broadcasts = this.#dueBroadcastLanes(bots, running, live, now);
    for (const key of this.#lanes.keys()) if (!live.has(key)) this.#lanes.delete(key);
    await this.#refillFollowUps(followUps, offsetMs);
    await this.#refillBroadcasts(broadcasts, offsetMs);
    await this.#review(running, now);
  }

  #dueFollowUpLanes(bots: RelayBot[], live: Set<string>, now: number): { bot: RelayBot; lane: Lane }[] {
    return bots.flatMap((bot) => {
      if (!bot.followUps || bot.held) return [];
      const key = laneKey({ kind: SendKind.followUp, botId: bot.botId, sourceId: 0 });
      const lane = this.#lane(key, bot.botId, "", live);
      return lane.nextAtMs <= now ? [{ bot, lane }] : [];
    });
  }

  #dueBroadcastLanes(bots: RelayBot[], running: RunningBroadcast[], live: Set<string>, now: number): DueLane[] {
    const byAccount = Map.groupBy(bots, (bot) => bot.accountId);
    const due: DueLane[] = [];
    for (const broadcast of running) {
      if (!broadcast.sendable || broadcast.room === 0) continue;
      for (const bot of byAccount.get(broadcast.accountId) ?? []) {
        if (bot.held) continue;
        const key = laneKey({ kind: SendKind.broadcast, botId: bot.botId, sourceId: broadcast.sourceId });
        const lane = this.#lane(key, bot.botId, `${broadcast.run}:${broadcast.epoch}:${broadcast.revision}`, live);
        if (lane.nextAtMs <= now) due.push({ bot, broadcast, lane });
      }
    }
    return due;
  }

  /** The lane by that key; a new one, or one of another era, has published nothing. */
  #lane(key: string, botId: number, era: string, live: Set<string>): Lane {
    live.add(key);
    const known = this.#lanes.get(key);
    if (known?.era === era) return known;
    const lane: Lane = { botId, era, marks: new LaneMarks(), nextAtMs: 0, headLength: 0 };
    this.#lanes.set(key, lane);
    return lane;
  }

  async #refillFollowUps(due: { bot: RelayBot; lane: Lane }[], offsetMs: number): Promise<void> {
    if (due.length === 0) return;
    const wanted = due.map(({ bot }) => ({ botId: bot.botId, limit: this.#windowOf(bot) }));
    const jobs = await store.selectDueFollowUps(this.#options.sql, wanted, offsetMs);
    const byBot = Map.groupBy(jobs, (job) => job.botId);
    const batch = due.flatMap(({ bot, lane }) => {
      const head = byBot.get(bot.botId) ?? [];
      lane.headLength = head.length;
      return this.#unpublished(lane, head, bot);
    });
    await this.#publish(batch);
  }

  async #refillBroadcasts(due: DueLane[], offsetMs: number): Promise<void> {
    if (due.length === 0) return;
    const lanes = due.map(({ bot, broadcast }) => {
      const { sourceId, run, revision, acceptedRevision } = broadcast;
      const limit = Math.max(1, Math.min(broadcast.room, this.#windowOf(bot)));
      return { sourceId, botId: bot.botId, run, revision, acceptedRevision, limit };
    });
    const heads = await store.selectBroadcastHeads(this.#options.sql, lanes, offsetMs);
    for (const [i, { lane }] of due.entries()) lane.headLength = heads[i]!.length;
    const sharers = this.#busyLanesByBot();
    const perLane = due.map(({ bot, broadcast, lane }, i) => {
      const share = Math.ceil(this.#windowOf(bot) / (sharers.get(bot.botId) ?? 1));
      const head = heads[i]!.slice(0, share).map((leadId) => broadcastJob(broadcast.sourceId, bot.botId, leadId));
      return this.#unpublished(lane, head, bot);
    });
    await this.#publish(inTurns(perLane));
  }

  /** How many broadcasts share each bot's window: those that had something sendable when they were last looked at. */
  #busyLanesByBot(): Map<number, number> {
    const busy = new Map<number, number>();
    for (const lane of this.#lanes.values()) {
      if (lane.headLength > 0 && lane.era !== "") busy.set(lane.botId, (busy.get(lane.botId) ?? 0) + 1);
    }
    return busy;
  }

  #windowOf(bot: RelayBot): number {
    const { windowSeconds = 10, maxWindow = 2_000 } = this.#options;
    return Math.min(maxWindow, Math.max(MIN_WINDOW, Math.ceil(bot.messagesPerSecond * windowSeconds)));
  }

  /** The head's jobs that are to be published now; also says when the lane's time comes again. */
  #unpublished(lane: Lane, head: SendJob[], bot: RelayBot): SendJob[] {
    const now = this.#options.clock.monotonicMs();
    const halfGoneMs = (head.length / 2 / bot.messagesPerSecond) * 1000;
    lane.nextAtMs = now + (head.length === 0 ? IDLE_MS : Math.min(MAX_REFILL_MS, halfGoneMs));
    const byKey = new Map(head.map((job) => [markKey(job), job]));
    return lane.marks.unpublished([...byKey.keys()], now, isBehind(lane, head)).map((key) => byKey.get(key)!);
  }

  async #publish(jobs: SendJob[]): Promise<void> {
    if (jobs.length === 0) return;
    const { clock, publish } = this.#options;
    killPoint("mark.before");
    // Before the publish: delivery may ack one unsent, and say so, while others of its batch are still under way.
    for (const job of jobs) this.#lanes.get(laneKey(job))?.marks.mark(markKey(job), clock.monotonicMs());
    killPoint("mark.after");
    const { failed } = await publish(jobs);
    for (const job of failed) {
      const lane = this.#lanes.get(laneKey(job));
      lane?.marks.unmark(markKey(job));
      if (lane) lane.nextAtMs = clock.monotonicMs() + IDLE_MS;
    }
  }

  /** Broadcasts that have nothing sendable here may be finished, or stuck on their body. */
  async #review(running: RunningBroadcast[], now: number): Promise<void> {
    if (now < this.#reviewAtMs) return;
    this.#reviewAtMs = now + REVIEW_MS;
    const { sql, onError } = this.#options;
    const busy = new Set([...this.#lanes].filter(([, lane]) => lane.headLength > 0).map(([key]) => key.split(":")[2]));
    const idle = running.filter((broadcast) => !busy.has(String(broadcast.sourceId)));
    const counters = await readCounters(
      sql,
      idle.map((broadcast) => broadcast.sourceId),
    );
    const finished = idle.filter(({ sourceId }) => isFinished(counters.get(sourceId)));
    for (const broadcast of new Set([...finished, ...running.filter(hasFaults)])) {
      await reviewBroadcast(sql, broadcast.accountId, broadcast.id).catch(onError);
    }
  }
}

interface DueLane {
  bot: RelayBot;
  broadcast: RunningBroadcast;
  lane: Lane;
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
function isBehind(lane: Lane, head: SendJob[]): (key: string) => boolean {
  const last = head.at(-1)?.leadId;
  if (last === undefined || head.length === lane.headLength) return () => false;
  return (key) => Number(key) > last;
}

function broadcastJob(sourceId: number, botId: number, leadId: number): SendJob {
  return { kind: SendKind.broadcast, botId, sourceId, leadId, entry: 0 };
}

/** Follow-ups of a bot share one lane, whatever their block. */
function laneKey(job: Pick<SendJob, "kind" | "botId" | "sourceId">): string {
  return `${job.kind}:${job.botId}:${job.kind === SendKind.followUp ? 0 : job.sourceId}`;
}

function markKey(job: SendJob): string {
  return job.kind === SendKind.followUp ? `${job.sourceId}:${job.leadId}:${job.entry}` : String(job.leadId);
}

/** One of each list, then the next of each: broadcasts of one bot take turns. */
function inTurns(lists: SendJob[][]): SendJob[] {
  const longest = Math.max(0, ...lists.map((list) => list.length));
  return Array.from({ length: longest }, (_, i) => lists.flatMap((list) => list.slice(i, i + 1))).flat();
}
