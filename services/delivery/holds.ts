/**
 * What stops a lane, and what sets it going again. A hold is a row in Postgres, so that the relay stops publishing, every
 * replica respects it and it outlives us; the lane stops at once by itself.
 *
 * - rateLimited: ends by itself after `retry_after`.
 * - tokenDead: ends when the token is replaced (PutBot deletes the row).
 * - breaker: three sends in a row refused or lost. The replica that owns the bot probes with getMe, at growing intervals,
 *   until the Bot API answers; then the row goes. A token that cannot be opened opens the breaker too: it closes when the
 *   key is there.
 * - operator: ends by Release.
 */
import type { Sql } from "#services/database/client.ts";
import { type DatabaseClock, databaseClock } from "#services/ledger/database-clock.ts";
import { HoldReason } from "#services/ledger/send.ts";
import type { Clock } from "#services/platform/clock.ts";
import { type BotApiReply, outcomeOf } from "./outcome.ts";
import * as store from "./store.ts";

export interface HoldsOptions {
  sql: Sql;
  clock: Clock;
  databaseClock?: DatabaseClock;
  openToken: (botId: number, sealed: string) => string;
  getMe: (token: string) => Promise<BotApiReply>;
  /** The shards whose bots are ours to probe. */
  shards: () => number[];
  onError: (error: unknown) => void;
  /** A hold was lifted: the lane may go on. */
  onLifted: (botId: number) => void;
}

/** Added to retry_after: Telegram counts whole seconds from its own clock. */
const RETRY_AFTER_MARGIN_MS = 100;
const FIRST_PROBE_MS = 1_000;
const MAX_PROBE_MS = 30_000;
const PROBE_TICK_MS = 500;
const RETRY_MS = 250;

const TOKEN_DEAD_MESSAGE = "Telegram refuses the bot's token.";

/** The bot that a reply was about, under the token that was used. */
interface UsedBot {
  botId: number;
  tokenVersion: number;
}

interface Probe {
  nextAtMs: number;
  waitMs: number;
  running: boolean;
}

export class Holds {
  readonly #options: HoldsOptions;
  readonly #probes = new Map<number, Probe>();
  readonly #writes = new Set<Promise<void>>();

  constructor(options: HoldsOptions) {
    this.#options = options;
  }

  /** Milliseconds that a 429 holds the bot. */
  static rateLimitMs(retryAfterSeconds: number): number {
    return retryAfterSeconds * 1000 + RETRY_AFTER_MARGIN_MS;
  }

  rateLimited(botId: number, retryAfterSeconds: number): void {
    const message = `Telegram asked for a pause of ${retryAfterSeconds} s.`;
    const endsAtMs = this.#options.clock.monotonicMs() + Holds.rateLimitMs(retryAfterSeconds);
    this.#write({ botId, reason: HoldReason.rateLimited, message, tokenVersion: 0 }, endsAtMs);
  }

  tokenDead({ botId, tokenVersion }: UsedBot): void {
    this.#write({ botId, reason: HoldReason.tokenDead, message: TOKEN_DEAD_MESSAGE, tokenVersion });
  }

  breaker(botId: number, message = "The Bot API does not answer as it should."): void {
    this.#write({ botId, reason: HoldReason.breaker, message, tokenVersion: 0 });
  }

  /** Probes that wait for an answer. */
  get probing(): number {
    return [...this.#probes.values()].filter((probe) => probe.running).length;
  }

  /** Resolves when every hold so far is committed: before that nobody else may take the bot. */
  async flush(): Promise<void> {
    while (this.#writes.size > 0) await Promise.all(this.#writes);
  }

  #write(hold: Omit<store.LaneHold, "forMs">, endsAtMs?: number): void {
    const write = this.#writeUntilDone(hold, endsAtMs).finally(() => this.#writes.delete(write));
    this.#writes.add(write);
  }

  /** Tries until Postgres has it, or until it would have ended. */
  async #writeUntilDone(hold: Omit<store.LaneHold, "forMs">, endsAtMs?: number): Promise<void> {
    const { sql, clock, onError } = this.#options;
    for (;;) {
      const forMs = endsAtMs === undefined ? null : endsAtMs - clock.monotonicMs();
      if (forMs !== null && forMs <= 0) return;
      try {
        const offsetMs = (this.#options.databaseClock ?? databaseClock).offsetMs();
        await store.upsertHold(sql, { ...hold, forMs }, offsetMs);
        return;
      } catch (error) {
        onError(error);
        await clock.sleep(RETRY_MS);
      }
    }
  }

  /** Probes open breakers of our shards until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.probe(signal).catch(this.#options.onError);
      await this.#options.clock.sleep(PROBE_TICK_MS, signal);
    }
  }

  /** Begins the probes that are due; a Bot API that hangs for one bot keeps no other waiting. */
  async probe(signal?: AbortSignal): Promise<void> {
    const { sql, shards, clock, onError } = this.#options;
    const held = shards();
    const open = held.length === 0 ? [] : await store.selectOpenBreakers(sql, held);
    const ids = new Set(open.map((bot) => bot.botId));
    for (const [botId, { running }] of this.#probes) if (!running && !ids.has(botId)) this.#probes.delete(botId);
    const now = clock.monotonicMs();
    for (const bot of open) {
      const probe = this.#probes.get(bot.botId) ?? { nextAtMs: now, waitMs: FIRST_PROBE_MS / 2, running: false };
      if (probe.running || probe.nextAtMs > now) continue;
      this.#probes.set(bot.botId, probe);
      void this.#probeBot(bot, probe, signal).catch(onError);
    }
  }

  async #probeBot(bot: UsedBot & { tokenSealed: string }, probe: Probe, signal?: AbortSignal): Promise<void> {
    const { sql, clock, getMe, openToken, onLifted } = this.#options;
    probe.running = true;
    probe.waitMs = Math.min(MAX_PROBE_MS, probe.waitMs * 2);
    try {
      const { outcome } = outcomeOf(await getMe(openToken(bot.botId, bot.tokenSealed)));
      if (signal?.aborted) return;
      if (outcome === "bot") this.tokenDead(bot);
      if (outcome !== "sent") return;
      await store.deleteHold(sql, bot.botId, HoldReason.breaker);
      onLifted(bot.botId);
    } finally {
      probe.running = false;
      probe.nextAtMs = clock.monotonicMs() + probe.waitMs;
    }
  }
}
