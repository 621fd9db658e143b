import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";

/** Lets a few run at once and keeps the others waiting, first come first served. */
export interface Turns {
  /**
   * Runs `work` when it is its turn; not any more if the signal has aborted by then.
   * Throws DomainError RATE_LIMITED when too many wait already.
   */
  take<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T>;
}

export interface TurnsOptions {
  maxRunning: number;
  maxWaiting: number;
}

export function createTurns({ maxRunning, maxWaiting }: TurnsOptions): Turns {
  const waiting: (() => void)[] = [];
  let running = 0;

  async function myTurn(): Promise<void> {
    if (running < maxRunning) {
      running++;
      return;
    }
    if (waiting.length >= maxWaiting) {
      throw new DomainError(ErrorReason.RATE_LIMITED, "Too many uploads run at once: try again in a moment.");
    }
    // Whoever ends hands its place over, so that nobody new slips in between.
    await new Promise<void>((resolve) => waiting.push(resolve));
  }

  function endTurn(): void {
    const next = waiting.shift();
    if (next === undefined) running--;
    else next();
  }

  return {
    take: async (work, signal) => {
      await myTurn();
      try {
        signal?.throwIfAborted();
        return await work();
      } finally {
        endTurn();
      }
    },
  };
}
