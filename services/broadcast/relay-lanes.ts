/**
 * The relay's lanes: which there are now, what each has published, and when each is to be looked at again.
 *
 * A lane is one bot's follow-ups, or one bot's part of one running broadcast. Thousands of them cost nothing while nothing
 * is to be done: the list is made anew only when something that it is made of has changed.
 */
import type { SendJob } from "#services/core/ledger/claim.ts";
import { ALL_BOTS, SendKind, shardOf } from "#services/core/ledger/send.ts";
import { LaneMarks } from "./lane-marks.ts";
import type { RelayBot, RunningBroadcast } from "./relay-store.ts";

/** A lane with nothing sendable is looked at this often at first: how long what comes back to it waits at most. */
export const IDLE_MS = 250;
/** And this often when that has been so for a while: of a large broadcast's lanes most are done long before the last. */
const MAX_IDLE_MS = 1_000;
/** A lane with work is looked at no later than this: what comes back to it is published then. */
const MAX_REFILL_MS = 2_000;
/** And where more lies behind the window no later than this: there is enough to do, and delivery says when it gets low. */
const MAX_REFILL_WITH_MORE_MS = 4_000;

/** A lead, or a follow-up's source, lead and entry. */
export type MarkKey = number | string;

export interface Lane {
  bot: RelayBot;
  /** Undefined for follow-ups, whatever their block. */
  broadcast: RunningBroadcast | undefined;
  /** What the marks belong to: the lease of the bot's shard, and for broadcasts the run, epoch and revision. */
  era: string;
  marks: LaneMarks<MarkKey>;
  nextAtMs: number;
  /** Between the last look and the next. */
  intervalMs: number;
  /** In which half of the last head would be gone at the bot's pace. */
  halfGoneMs: number;
  /** Sendable rows in the head when it was last read. */
  headLength: number;
  /** The head was cut: there is more behind it. */
  hasMore: boolean;
}

export interface LanesInput {
  running: readonly RunningBroadcast[];
  /** With bots, by account, that may have rows of them. */
  botsByAccount: ReadonlyMap<number, readonly RelayBot[]>;
  /** With follow-ups that are due. */
  dueBots: readonly RelayBot[];
  held: ReadonlySet<number>;
  /** Of delivery's leases, by shard. */
  ownerFences: readonly number[];
}

export class RelayLanes {
  #byKey = new Map<string, Lane>();
  #byBot = new Map<number, Lane[]>();

  all(): Iterable<Lane> {
    return this.#byKey.values();
  }

  clear(): void {
    this.#byKey = new Map();
    this.#byBot = new Map();
  }

  of(job: Pick<SendJob, "kind" | "botId" | "sourceId">): Lane | undefined {
    return this.#byKey.get(laneKey(job.kind, job.botId, job.sourceId));
  }

  /** Bots that have lanes. */
  get botCount(): number {
    return this.#byBot.size;
  }

  ofBot(botId: number): readonly Lane[] {
    return this.#byBot.get(botId) ?? [];
  }

  /**
   * Lanes stay as they are while they live; a new one, or one of another era, has published nothing. Neither has one whose
   * bot another replica has taken over: what the one before had pulled may have died with it, and what is doubled by this is
   * stale by its claim.
   */
  update({ running, botsByAccount, dueBots, held, ownerFences }: LanesInput): void {
    const known = this.#byKey;
    this.clear();
    if (held.has(ALL_BOTS)) return;
    const keep = (bot: RelayBot, broadcast?: RunningBroadcast) => {
      if (!held.has(bot.botId)) this.#keep(known, bot, broadcast, ownerFences[shardOf(bot.botId)] ?? 0);
    };
    for (const bot of dueBots) keep(bot);
    for (const broadcast of running) {
      if (!maySend(broadcast)) continue;
      for (const bot of botsByAccount.get(broadcast.accountId) ?? []) keep(bot, broadcast);
    }
  }

  #keep(
    known: ReadonlyMap<string, Lane>,
    bot: RelayBot,
    broadcast: RunningBroadcast | undefined,
    ownerFence: number,
  ): void {
    const key = laneKey(broadcast ? SendKind.broadcast : SendKind.followUp, bot.botId, broadcast?.sourceId ?? 0);
    const era = broadcast
      ? `${ownerFence}:${broadcast.run}:${broadcast.epoch}:${broadcast.revision}`
      : String(ownerFence);
    const before = known.get(key);
    const lane = before?.era === era ? before : newLane(bot, era);
    lane.bot = bot;
    lane.broadcast = broadcast;
    this.#byKey.set(key, lane);
    const ofBot = this.#byBot.get(bot.botId);
    if (ofBot) ofBot.push(lane);
    else this.#byBot.set(bot.botId, [lane]);
  }

  /** How many broadcasts share this bot's window: those that had something sendable when they were last looked at. */
  sharers(botId: number): number {
    let count = 0;
    for (const lane of this.ofBot(botId)) if (lane.broadcast && lane.headLength > 0) count++;
    return Math.max(1, count);
  }
}

function newLane(bot: RelayBot, era: string): Lane {
  return {
    ...{ bot, era, broadcast: undefined, marks: new LaneMarks<MarkKey>() },
    ...{ nextAtMs: 0, intervalMs: 0, halfGoneMs: 0, headLength: 0, hasMore: false },
  };
}

/** Paid, with the feature, and with room in the day. */
export function maySend({ sendable, room }: RunningBroadcast): boolean {
  return sendable && room > 0;
}

/**
 * Says when the lane's time comes again, after a look at a head of that length, of which so many had not been published
 * before. That is when half of it should be gone at the bot's pace. Where less was gone than that, because delivery is
 * slower than the pace, the next look comes later: each one reads the whole head.
 */
export function planNextLook(lane: Lane, { length, fresh }: { length: number; fresh: number }, nowMs: number): void {
  if (length === 0) {
    const wasIdle = lane.halfGoneMs === 0 && lane.intervalMs > 0;
    lane.intervalMs = wasIdle ? Math.min(MAX_IDLE_MS, lane.intervalMs * 2) : IDLE_MS;
    lane.halfGoneMs = 0;
  } else {
    const halfGoneMs = (length / 2 / lane.bot.messagesPerSecond) * 1000;
    const isComparable = halfGoneMs === lane.halfGoneMs && fresh < length * 0.75;
    const slower = fresh < length * 0.375 ? 2 : 1;
    const maxMs = lane.hasMore ? MAX_REFILL_WITH_MORE_MS : MAX_REFILL_MS;
    lane.intervalMs = Math.min(maxMs, isComparable ? lane.intervalMs * slower : halfGoneMs);
    lane.halfGoneMs = halfGoneMs;
  }
  lane.nextAtMs = nowMs + lane.intervalMs;
}

/** The lane is looked at next time, and soon again should it have nothing then. */
export function lookAtOnce(lane: Lane): void {
  lane.nextAtMs = 0;
  if (lane.halfGoneMs === 0) lane.intervalMs = 0;
}

function laneKey(kind: SendKind, botId: number, sourceId: number): string {
  return `${kind}:${botId}:${kind === SendKind.followUp ? 0 : sourceId}`;
}

export function markKey(job: SendJob): MarkKey {
  return job.kind === SendKind.followUp ? `${job.sourceId}:${job.leadId}:${job.entry}` : job.leadId;
}
