/**
 * What stops a lane, and what sets it going again. A hold is a row in Postgres, so that the relay stops publishing, every
 * replica respects it and it outlives us; the lane stops at once by itself.
 *
 * - rateLimited: ends by itself after `retry_after`.
 * - tokenDead: ends when the token is replaced (PutBot deletes the row).
 * - breaker: three sends in a row refused or lost. The replica that owns the bot probes with getMe, at growing intervals,
 *   until the Bot API answers; then the row goes.
 * - operator: ends by Release.
 */
import type { Sql } from "#services/database/client.ts";
import { type DatabaseClock, databaseClock } from "#services/ledger/database-clock.ts";
import { HoldReason } from "#services/ledger/send.ts";
import type { BotRow } from "#services/ledger/store.ts";
import type { Clock } from "#services/platform/clock.ts";
import { type BotApiReply, outcomeOf } from "./outcome.ts";
import * as store from "./store.ts";

export interface HoldsOptions {
  sql: Sql;
  clock: Clock;
  databaseClock?: DatabaseClock;
  openToken: (botId: number, sealed: string) => string;
  getMe: (token: string) => Promise<BotApiReply>;
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

export class Holds {
  readonly #options: HoldsOptions;
  readonly #probes = new Map<number, { nextAtMs: number; waitMs: number }>();

  constructor(options: HoldsOptions) {
    this.#options = options;
  }

  /** Milliseconds that a 429 holds the bot. */
  static rateLimitMs(retryAfterSeconds: number): number {
    return retryAfterSeconds * 1000 + RETRY_AFTER_MARGIN_MS;
  }

  rateLimited(bot: BotRow, retryAfterSeconds: number): void {
    const forMs = Holds.rateLimitMs(retryAfterSeconds);
    const message = `Telegram asked for a pause of ${retryAfterSeconds} s.`;
    this.#write({ botId: bot.botId, reason: HoldReason.rateLimited, forMs, message, tokenVersion: 0 });
  }

  tokenDead(bot: BotRow): void {
    const message = "Telegram refuses the bot's token.";
    const { botId, tokenVersion } = bot;
    this.#write({ botId, reason: HoldReason.tokenDead, forMs: null, message, tokenVersion });
  }

  breaker(bot: BotRow): void {
    const message = "The Bot API does not answer as it should.";
    this.#write({ botId: bot.botId, reason: HoldReason.breaker, forMs: null, message, tokenVersion: 0 });
  }

  #write(hold: store.LaneHold): void {
    const offsetMs = (this.#options.databaseClock ?? databaseClock).offsetMs();
    store.upsertHold(this.#options.sql, hold, offsetMs).catch(this.#options.onError);
  }

  /** Probes open breakers of our shards until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.probe().catch(this.#options.onError);
      await this.#options.clock.sleep(PROBE_TICK_MS, signal);
    }
  }

  async probe(): Promise<void> {
    const { sql, shards, clock } = this.#options;
    const held = shards();
    const open = held.length === 0 ? [] : await store.selectOpenBreakers(sql, held);
    const ids = new Set(open.map((bot) => bot.botId));
    for (const botId of this.#probes.keys()) if (!ids.has(botId)) this.#probes.delete(botId);
    const now = clock.monotonicMs();
    const due = open.filter((bot) => (this.#probes.get(bot.botId)?.nextAtMs ?? 0) <= now);
    await Promise.all(due.map((bot) => this.#probeBot(bot)));
  }

  async #probeBot(bot: { botId: number; tokenSealed: string; tokenVersion: number }): Promise<void> {
    const { sql, clock, getMe, openToken, onLifted } = this.#options;
    const outcome = outcomeOf(await getMe(openToken(bot.botId, bot.tokenSealed)));
    if (outcome.outcome === "sent") {
      await store.deleteHold(sql, bot.botId, HoldReason.breaker);
      this.#probes.delete(bot.botId);
      return onLifted(bot.botId);
    }
    if (outcome.outcome === "bot") {
      const message = "Telegram refuses the bot's token.";
      const { botId, tokenVersion } = bot;
      return this.#write({ botId, reason: HoldReason.tokenDead, forMs: null, message, tokenVersion });
    }
    const waitMs = Math.min(MAX_PROBE_MS, (this.#probes.get(bot.botId)?.waitMs ?? FIRST_PROBE_MS / 2) * 2);
    this.#probes.set(bot.botId, { nextAtMs: clock.monotonicMs() + waitMs, waitMs });
  }
}
