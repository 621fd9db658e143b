/** How a process ended: "exit code 1" or "SIGKILL", and what it said last, if anything. */
export interface Death {
  ending: string;
  lastWords: string;
}

/** A process that runs. */
export interface Running {
  readonly pid: number;
  /** Resolves when it is gone. It never rejects. */
  readonly exited: Promise<Death>;
  /** Ends it gently and waits. Safe twice. */
  stop(): Promise<void>;
  /** Ends it at once. */
  kill(): void;
}

export interface KeeperOptions {
  name: string;
  start(): Promise<Running>;
  say(line: string): void;
}

const firstBackOffMs = 200;
const longestBackOffMs = 5_000;
/** Who has lived that long starts again at the shortest back-off. */
const soundLifeMs = 10_000;
/** So many deaths in a row before it was ever well, and it will not come up by itself. */
const hopelessDeaths = 3;
/** EX_CONFIG: our processes end with it when their configuration is wrong, which no restart will mend. */
const badConfiguration = "exit code 78";

/**
 * Keeps one process running: starts it, and starts it again whenever it dies, after 0.2 s, then twice as long each time
 * up to 5 s.
 *
 * ```
 *            start             died
 *   stopped ───────► running ◄───────► waiting
 *      ▲                │   back-off      │
 *      └──────────── stop ────────────────┘
 * ```
 */
export class Keeper {
  readonly name: string;
  /** Rejects when the process has died three times, or would not take its configuration, before it was ever well. Never resolves. */
  readonly hopeless: Promise<never>;
  #options: KeeperOptions;
  #running: Running | undefined;
  #firstStart: Promise<unknown> = Promise.resolve();
  #stopping = new AbortController();
  #loop: Promise<void> = Promise.resolve();
  #wasWell = false;
  #giveUp: (error: Error) => void = () => {};

  constructor(options: KeeperOptions) {
    this.name = options.name;
    this.#options = options;
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.hopeless = promise;
    this.#giveUp = reject;
  }

  get pid(): number | undefined {
    return this.#running?.pid;
  }

  /** Starts it the first time; what that throws is the caller's. */
  async start(): Promise<void> {
    const first = this.#options.start();
    this.#firstStart = first.catch(() => {});
    this.#running = await first;
    this.#loop = this.#keep(this.#running);
  }

  /** From now on it is expected to come up again, however often it dies. */
  markWell(): void {
    this.#wasWell = true;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#firstStart;
    await this.#running?.stop();
    await this.#loop;
    // A start that was under way when we were asked to stop has put another one here.
    await this.#running?.stop();
  }

  kill(): void {
    this.#stopping.abort();
    this.#running?.kill();
  }

  async #keep(first: Running): Promise<void> {
    let running: Running | undefined = first;
    let startedAt = performance.now();
    for (let deaths = 1; ; deaths++) {
      const death = running === undefined ? { ending: "it did not start", lastWords: "" } : await running.exited;
      if (this.#stopping.signal.aborted) return;
      if (performance.now() - startedAt > soundLifeMs) deaths = 1;
      this.#announce(death, deaths);
      await this.#wait(backOffMs(deaths));
      if (this.#stopping.signal.aborted) return;
      startedAt = performance.now();
      running = await this.#startAgain();
      this.#running = running;
    }
  }

  async #startAgain(): Promise<Running | undefined> {
    try {
      return await this.#options.start();
    } catch (error) {
      this.#options.say(`${this.name}: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    }
  }

  #announce({ ending, lastWords }: Death, deaths: number): void {
    // Whoever was killed by a signal had no last words about it.
    const why = lastWords === "" || !ending.startsWith("exit code") ? ending : `${ending}: ${lastWords}`;
    const isHopeless = deaths >= hopelessDeaths || ending === badConfiguration;
    if (!this.#wasWell && isHopeless) this.#giveUp(new Error(why));
    else this.#options.say(`${this.name} died (${why}); starting it again in ${backOffMs(deaths) / 1000} s`);
  }

  async #wait(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#stopping.signal.addEventListener("abort", () => resolve(), { once: true });
    await promise;
    clearTimeout(timer);
  }
}

/** How long to wait after so many deaths in a row. */
export function backOffMs(deaths: number): number {
  return Math.min(firstBackOffMs * 2 ** (deaths - 1), longestBackOffMs);
}
