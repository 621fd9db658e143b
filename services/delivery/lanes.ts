import { SharedJitter } from "./jitter.ts";
import { Lane, type LaneOptions } from "./lane.ts";

/** A lane that nothing was in for this long is forgotten, with its pace: its window is long over. */
const LANE_IDLE_MS = 60_000;
/** Between looks for such lanes. */
const FORGET_INTERVAL_MS = 15_000;

/** The lanes of the bots that have had work lately, in the order in which they are served. */
export class Lanes {
  readonly #byBot = new Map<number, Lane>();
  readonly #options: LaneOptions;
  readonly #jitter = new SharedJitter();
  #forgotAtMs = 0;

  constructor(options: Omit<LaneOptions, "jitter">) {
    this.#options = { ...options, jitter: this.#jitter };
  }

  values(): Iterable<Lane> {
    return this.#byBot.values();
  }

  find(botId: number): Lane | undefined {
    return this.#byBot.get(botId);
  }

  /** The bot's lane, made if there is none. */
  use(botId: number, nowMs: number): Lane {
    const lane = this.#byBot.get(botId) ?? new Lane(botId, this.#options);
    lane.usedAtMs = nowMs;
    this.#byBot.set(botId, lane);
    return lane;
  }

  /** A 429: nothing of the lane is written before `resumeMs`, and what it teaches is learnt. */
  rateLimited(lane: Lane, nowMs: number, resumeMs: number): void {
    lane.pacer.slowDown(nowMs, resumeMs);
    lane.rateLimitedUntilMs = Math.max(lane.rateLimitedUntilMs, resumeMs);
    this.#jitter.note(lane.botId, nowMs);
  }

  ofShards(shards: Iterable<number>): Lane[] {
    const wanted = new Set(shards);
    return [...this.#byBot.values()].filter((lane) => wanted.has(lane.shard));
  }

  shards(): Set<number> {
    return new Set([...this.#byBot.values()].map((lane) => lane.shard));
  }

  /** These were served: they come last the next time. */
  serveLast(served: readonly Lane[]): void {
    for (const lane of served) {
      this.#byBot.delete(lane.botId);
      this.#byBot.set(lane.botId, lane);
    }
  }

  forgetIdle(nowMs: number): void {
    if (nowMs - this.#forgotAtMs < FORGET_INTERVAL_MS) return;
    this.#forgotAtMs = nowMs;
    for (const [botId, lane] of this.#byBot) {
      if (nowMs - lane.usedAtMs >= LANE_IDLE_MS && lane.isIdleAt(nowMs)) this.#byBot.delete(botId);
    }
  }
}
