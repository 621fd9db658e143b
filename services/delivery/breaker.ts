/**
 * Breakers: a Bot API that refuses connections, or loses answers, meets one lead after another and would put each in doubt.
 *
 * ```
 *             3 unknown or refused in a row                  its time has come: one message
 *   closed ───────────────────────────────────► open ──────────────────────────────────────► half-open
 *     ▲                                          ▲                                             │  │  │
 *     │                                          └── unknown or refused: after 1, 2, 4 … 60 s ─┘  │  │
 *     │                                                            accepted: the next one, at once ┘  │
 *     └─────────────────────────────── the tenth in a row ────────────────────────────────────────────┘
 * ```
 *
 * - A breaker is a row of `lane`; closed is no row. `probe_at` is when the next message may be tried, `probes` how many were
 *   in vain, `accepted` how many in a row were not. Each try takes its turn by moving `probe_at`, so that of several replicas
 *   one tries, and one that dies leaves its turn to the next.
 * - What is tried is a message, and never getMe alone: a Bot API may know who a bot is while it sends nothing. So while it is
 *   away a bot puts at most one lead in doubt a minute.
 * - Three bots' breakers within 30 s open the one of the Bot API's address (bot 0). While that stands, one bot, chosen anew
 *   for each try, tries for all; the bots' own breakers stay, and each of them tries by itself afterwards.
 * - Answers that can be read count as neither, whatever they say of the lead: the bot goes on with the next one.
 *
 * Invariants: at most one message of a bot is on the wire while its breaker is open or half-open, beside those that were
 * there when it opened; at most one of all bots while that of the address is.
 */
import type { Outcome } from "./outcome.ts";

/** What opening one means. */
export interface BreakerRule {
  message: string;
  /** Whether the Bot API opened it, and not something of ours. */
  counts: boolean;
  firstProbeMs: number;
  /** So many bots' breakers within so long open the one of the Bot API's address. */
  botLimit: number;
  withinMs: number;
  addressMessage: string;
}

/** Lost or refused in a row until a bot's breaker opens. */
export const FAILURES_TO_OPEN = 3;
/** Accepted in a row until it closes. */
export const ACCEPTED_TO_CLOSE = 10;
const FIRST_PROBE_MS = 1_000;
const MAX_PROBE_MS = 60_000;
const BOTS_TO_OPEN_ADDRESS = 3;
const BOTS_WITHIN_MS = 30_000;

const MESSAGE = "The Bot API does not answer as it should.";
const ADDRESS_MESSAGE = "The Bot API does not answer as it should, for several bots: one bot tries for all.";

/** @param message of a fault of ours, which says nothing about the Bot API's address. */
export function breakerRule(message?: string): BreakerRule {
  return {
    message: message ?? MESSAGE,
    counts: message === undefined,
    firstProbeMs: FIRST_PROBE_MS,
    botLimit: BOTS_TO_OPEN_ADDRESS,
    withinMs: BOTS_WITHIN_MS,
    addressMessage: ADDRESS_MESSAGE,
  };
}

/** How long to wait after so many tries in vain: 1 s before the first, then 2, 4 … 60 s. */
export function waitBeforeTryMs(inVain: number): number {
  return Math.min(MAX_PROBE_MS, FIRST_PROBE_MS * 2 ** Math.min(inVain, 10));
}

/** What a try says about the Bot API; undefined for nothing (no request was written, or it has to wait). */
export function verdictOf({ outcome }: Outcome): "accepted" | "failed" | "readable" | undefined {
  switch (outcome) {
    case "sent":
      return "accepted";
    case "unknown":
    case "refused":
      return "failed";
    case "lead":
    case "body":
    case "unlisted":
      return "readable";
    case "bot":
    case "rateLimited":
    case "postponed":
      return undefined;
    default:
      return outcome satisfies never;
  }
}
