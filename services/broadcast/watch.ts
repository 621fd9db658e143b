import type { Clock } from "#services/platform/clock.ts";
import { isOpen } from "./broadcast.ts";
import type { Progress, ProgressMeter } from "./progress.ts";

/** How often a watched broadcast is looked at. */
const WATCH_INTERVAL_MS = 500;

/**
 * The first progress at once, then each that differs from the last one, at most twice a second. Ends after the first that is
 * neither running nor paused, or when the signal aborts.
 */
export async function* watchProgress(
  meter: ProgressMeter,
  clock: Clock,
  accountId: number,
  broadcastId: number,
  signal: AbortSignal,
): AsyncGenerator<Progress> {
  let last = "";
  while (!signal.aborted) {
    const progress = await meter.progressOf(accountId, broadcastId);
    const text = JSON.stringify(progress);
    if (text !== last) yield progress;
    last = text;
    if (!isOpen(progress.state)) return;
    await clock.sleep(WATCH_INTERVAL_MS, signal);
  }
}
