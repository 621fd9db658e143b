/**
 * Keeps replies to refused callers back for a moment. A client that calls again as soon as it has its answer would
 * otherwise spend a whole processor on refusals; kept back, each of its connections costs one a second.
 */
import { type Clock, systemClock } from "./clock.ts";

export interface HoldBackOptions {
  /** Default 1,000. */
  readonly ms?: number;
  /** Replies that are kept back at once, each a timer and a connection; more than that go out at once. */
  readonly maxHeld?: number;
  readonly clock?: Clock;
}

/** Resolves after the while, or at once where the caller has gone or too many are kept back already. */
export type HoldBack = (signal: AbortSignal) => Promise<void>;

export function createHoldBack({ ms = 1_000, maxHeld = 10_000, clock = systemClock }: HoldBackOptions = {}): HoldBack {
  let held = 0;
  return async (signal) => {
    if (held >= maxHeld) return;
    held += 1;
    try {
      await clock.sleep(ms, signal);
    } finally {
      held -= 1;
    }
  };
}
