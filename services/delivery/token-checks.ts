/**
 * Whether a token is dead. A send that is answered 401 or 404 by Telegram only suggests it: getMe confirms it. All sends of a
 * bot that meet it within a moment share one question.
 */
import { SendReason } from "#services/core/ledger/send.ts";
import type { Clock } from "#services/platform/clock.ts";
import { type BotApiReply, type Outcome, outcomeOf, unlistedOutcome } from "./outcome.ts";

export interface TokenChecksOptions {
  clock: Clock;
  getMe: (token: string) => Promise<BotApiReply>;
}

/** An answer is good for this long: a Bot API that knows no sendPhoto would otherwise be asked for each lead. */
const KEPT_MS = 1_000;
const MAX_KEPT = 1_000;

export class TokenChecks {
  readonly #options: TokenChecksOptions;
  readonly #asked = new Map<string, { atMs: number; answer: Promise<Outcome> }>();

  constructor(options: TokenChecksOptions) {
    this.#options = options;
  }

  /** What a reply to a send means, once it is known whether the token lives. */
  async confirm(token: string, reply: BotApiReply): Promise<Outcome> {
    const outcome = outcomeOf(reply);
    if (outcome.outcome !== "bot" || reply.answer !== "error") return outcome;
    const me = await this.#ask(token);
    if (me.outcome === "bot" || me.outcome === "rateLimited") return me;
    // Telegram has refused the send, and nobody knows whose fault that was: it may be tried again.
    const isSilent = me.outcome === "refused" || me.outcome === "unknown" || me.outcome === "postponed";
    if (isSilent) return { outcome: "refused", reason: SendReason.botRefused };
    // The token lives: it is this method, or this message, that was refused.
    return unlistedOutcome(reply.code, reply.description);
  }

  #ask(token: string): Promise<Outcome> {
    const now = this.#options.clock.monotonicMs();
    const known = this.#asked.get(token);
    if (known && now - known.atMs < KEPT_MS) return known.answer;
    if (this.#asked.size >= MAX_KEPT) this.#asked.clear();
    const answer = this.#options.getMe(token).then(outcomeOf);
    this.#asked.set(token, { atMs: now, answer });
    return answer;
  }
}
