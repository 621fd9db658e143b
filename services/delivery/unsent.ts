import type { SendJob } from "#services/core/ledger/claim.ts";
import type { QueuedJob } from "./lane.ts";

/** Jobs in one hint at most: some 10 KB, far below what one NATS message may hold. */
const MAX_HINT = 250;
/** Jobs that come back within this are told of together. */
const GROUP_MS = 5;

/** Jobs that were not sent: acks them, and tells the relay of them in groups. A hint that is lost costs time only. */
export class Unsent {
  #jobs: SendJob[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly onUnsent: (jobs: SendJob[]) => void,
    readonly onError: (error: unknown) => void,
  ) {}

  add(items: readonly QueuedJob[]): void {
    if (items.length === 0) return;
    for (const { job, ack } of items) {
      ack();
      this.#jobs.push(job);
    }
    this.#timer ??= setTimeout(() => this.flush(), GROUP_MS);
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const jobs = this.#jobs.splice(0);
    try {
      for (let from = 0; from < jobs.length; from += MAX_HINT) this.onUnsent(jobs.slice(from, from + MAX_HINT));
    } catch (error) {
      this.onError(error);
    }
  }
}
