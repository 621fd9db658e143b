/**
 * What stops bots, as rows of `lane` in Postgres: the one truth about it. The relay stops publishing by them, every claim on
 * every replica asks them, operators and customers are shown them, and they outlive a process. A worker stops a lane at once
 * by itself, for a second, and then by what its claims are told; only a 429's end is kept in memory too.
 *
 * | reason | begins | ends |
 * | --- | --- | --- |
 * | rateLimited | 429 | at its moment, and never before |
 * | tokenDead | 401 or 404, confirmed by getMe | the token is replaced, or getMe knows it again: asked every 10 minutes |
 * | breaker | see breaker.ts | ten messages accepted one by one |
 * | botFault | a streak of refusals (fault-streak.ts) | a message is accepted |
 * | operator, restored, duplicate | HoldBot and HoldAll, restore.ts, PutBot | Release, AcceptRestore, PutBot |
 */
import type { Sql } from "#services/core/database/client.ts";
import { type DatabaseClock, databaseClock } from "#services/core/ledger/database-clock.ts";
import type { Clock } from "#services/platform/clock.ts";
import { breakerRule } from "./breaker.ts";
import * as store from "./holds-store.ts";

export interface HoldsOptions {
  sql: Sql;
  clock: Clock;
  databaseClock?: DatabaseClock;
  onError: (error: unknown) => void;
}

/** Added to retry_after: Telegram counts whole seconds from its own clock. */
const RETRY_AFTER_MARGIN_MS = 100;
const RETRY_MS = 250;
/** Between two questions whether a dead token is known again. */
export const ASK_TOKEN_MS = 600_000;

const TOKEN_DEAD_MESSAGE = "Telegram refuses the bot's token.";

/** The bot that a reply was about, under the token that was used. */
interface UsedBot {
  botId: number;
  tokenVersion: number;
}

export class Holds {
  readonly #options: HoldsOptions;
  /** Writes under way, and the bots that they are about. */
  readonly #writes = new Map<Promise<void>, number>();

  constructor(options: HoldsOptions) {
    this.#options = options;
  }

  /** Milliseconds that a 429 holds the bot. */
  static rateLimitMs(retryAfterSeconds: number): number {
    return retryAfterSeconds * 1000 + RETRY_AFTER_MARGIN_MS;
  }

  rateLimited(botId: number, retryAfterSeconds: number): void {
    const message = `Telegram asked for a pause of ${Math.ceil(retryAfterSeconds)} s.`;
    const endsAtMs = this.#options.clock.monotonicMs() + Holds.rateLimitMs(retryAfterSeconds);
    this.#write(botId, (sql, offsetMs, nowMs) => {
      const forMs = endsAtMs - nowMs;
      return forMs <= 0 ? undefined : store.upsertRateLimit(sql, { botId, forMs, message }, offsetMs);
    });
  }

  tokenDead({ botId, tokenVersion }: UsedBot): void {
    const dead = { botId, tokenVersion, message: TOKEN_DEAD_MESSAGE };
    this.#write(botId, (sql) => store.upsertDeadToken(sql, dead, ASK_TOKEN_MS));
  }

  /** @param message given where something of ours is the reason: such a breaker says nothing about the Bot API. */
  breaker(botId: number, message?: string): void {
    this.#write(botId, (sql) => store.openBreaker(sql, botId, breakerRule(message)));
  }

  /** Whether a hold of this bot is not committed yet. */
  isWriting(botId: number): boolean {
    return [...this.#writes.values()].includes(botId);
  }

  /** Resolves when every hold so far is committed: before that nobody else may take the bot. */
  async flush(): Promise<void> {
    while (this.#writes.size > 0) await Promise.all(this.#writes.keys());
  }

  #write(botId: number, work: WriteHold): void {
    const write = this.#writeUntilDone(work).finally(() => this.#writes.delete(write));
    this.#writes.set(write, botId);
  }

  /** Tries until Postgres has it, or until it would have ended. */
  async #writeUntilDone(work: WriteHold): Promise<void> {
    const { sql, clock, onError } = this.#options;
    for (;;) {
      try {
        const offsetMs = (this.#options.databaseClock ?? databaseClock).offsetMs();
        return await work(sql, offsetMs, clock.monotonicMs());
      } catch (error) {
        onError(error);
        await clock.sleep(RETRY_MS);
      }
    }
  }
}

/** Undefined where there is nothing to write any more. */
type WriteHold = (sql: Sql, offsetMs: number, nowMs: number) => Promise<void> | undefined;
