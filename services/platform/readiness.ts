/**
 * Whether a process can do its work, for all who ask. A look costs a query, and anybody may ask without a token: so there
 * is one look at a time, its answer serves for a moment, and those who watch share a loop.
 */
import { type Clock, systemClock } from "./clock.ts";
import type { Logger } from "./log.ts";

export interface Readiness {
  /** The answer of a look that is at most half a second old. */
  isReady(): Promise<boolean>;
  /**
   * Tells `listener` the present answer and then each change, until the signal aborts. False when there are too many
   * watchers already.
   */
  watch(listener: (ready: boolean) => void, signal: AbortSignal): boolean;
}

export interface ReadinessOptions {
  /** A rejection counts as no. */
  check: () => Promise<boolean>;
  log: Logger;
  clock?: Clock;
  /** Watchers at once. Default 1,000. */
  maxWatchers?: number;
}

const freshMs = 500;
/** How often it is looked for those who watch; a balancer learns of a change this late at most. */
const watchIntervalMs = 1_000;
/** A check that does not come back is a no, and the next one may be tried. */
const checkTimeoutMs = 5_000;

export function createReadiness(options: ReadinessOptions): Readiness {
  const { clock = systemClock, maxWatchers = 1_000 } = options;
  const watchers = new Set<(ready: boolean) => void>();
  let looking: Promise<boolean> | undefined;
  let last: { ready: boolean; atMs: number } | undefined;
  let isLooping = false;

  async function look(): Promise<boolean> {
    const ready = await answerOf(options, clock);
    last = { ready, atMs: clock.monotonicMs() };
    looking = undefined;
    return ready;
  }

  function isReady(): Promise<boolean> {
    if (last !== undefined && clock.monotonicMs() - last.atMs < freshMs) return Promise.resolve(last.ready);
    looking ??= look();
    return looking;
  }

  async function loop(): Promise<void> {
    isLooping = true;
    while (watchers.size > 0) {
      const ready = await isReady();
      for (const watcher of watchers) watcher(ready);
      await clock.sleep(watchIntervalMs);
    }
    isLooping = false;
  }

  return {
    isReady,
    watch: (listener, signal) => {
      if (watchers.size >= maxWatchers) return false;
      if (signal.aborted) return true;
      let told: boolean | undefined;
      const watcher = (ready: boolean) => {
        if (ready !== told) listener(ready);
        told = ready;
      };
      watchers.add(watcher);
      signal.addEventListener("abort", () => watchers.delete(watcher), { once: true });
      if (isLooping) void isReady().then(watcher);
      else void loop();
      return true;
    },
  };
}

async function answerOf({ check, log }: ReadinessOptions, clock: Clock): Promise<boolean> {
  const answered = new AbortController();
  const late = clock.sleep(checkTimeoutMs, answered.signal).then(() => false);
  try {
    return await Promise.race([check(), late]);
  } catch (error) {
    log.warn({ err: error }, "the readiness check failed");
    return false;
  } finally {
    answered.abort();
  }
}
