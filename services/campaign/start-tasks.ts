/**
 * Work that a new version has to do once for rows that are there, beside serving. It is done at the start, tried again until
 * it succeeds, and begun anew when somebody finds more of it: a copy of the version before may still be writing.
 */
import type { Clock } from "#services/platform/clock.ts";
import type { Logger } from "#services/platform/log.ts";

export interface StartTasksOptions {
  /** In this order. Each is repeatable, and quick where nothing is left to do. */
  tasks: readonly (() => Promise<void>)[];
  clock: Clock;
  log: Logger;
}

const RETRY_MS = 1_000;

export class StartTasks {
  readonly #options: StartTasksOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: StartTasksOptions) {
    this.#options = options;
  }

  /** Begins, unless it is under way. */
  wake(): void {
    if (this.#stopping.signal.aborted) return;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Resolves when a task that is under way has ended. Safe twice. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { tasks, clock, log } = this.#options;
    const { signal } = this.#stopping;
    for (const task of tasks) {
      while (!signal.aborted) {
        try {
          await task();
          break;
        } catch (error) {
          log.error({ err: error }, "work of the start failed, and will be tried again");
          await clock.sleep(RETRY_MS, signal);
        }
      }
    }
  }
}
