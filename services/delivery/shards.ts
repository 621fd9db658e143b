/**
 * The life of each shard at this replica. The lease says whose a shard is; this says what we do with it, and is the only
 * one to say so: intake pulls and the worker takes jobs as they are told here.
 *
 * ```
 *              acquired              consumers are there, or will be mended
 *   released ─────────────► opening ────────────────────────────────────────► open
 *      ▲                       │ │                                            │ │
 *      │                  lost │ │ drain                                drain │ │ lost
 *      ├───────────────────────┘ └──────────────► draining ◄──────────────────┘ │
 *      │             settled, or lost                │                          │
 *      ├─────────────────────────────────────────────┘                          │
 *      └────────────────────────────────────────────────────────────────────────┘
 * ```
 *
 * Invariants:
 * 1. Jobs are pulled for a shard, and taken, exactly while it is open.
 * 2. A life is an object of its own: an opening that ends after its life was left opens nothing, however often the shard
 *    has been acquired since.
 * 3. A drain ends when nothing is pulled any more and all that was taken is settled; only then may the lease go. A life
 *    that begins while the last one is still ending waits for that end.
 * 4. A drain that fails has left its life all the same: whoever holds the lease still begins a new one.
 * 5. After `stop` no life begins.
 */

export interface ShardsOptions {
  /** Makes sure that the shard's consumers exist; may be slow, and may fail: intake mends what is missing. */
  ensureConsumers: (shard: number) => Promise<unknown>;
  intake: {
    open(shards: number[]): void;
    /** Resolves when nothing more is offered. */
    close(shards: number[]): Promise<void>;
  };
  worker: {
    /** Puts back what is not on the wire. */
    lose(shards: number[]): void;
    /** Resolves when all is settled. */
    drain(shards: number[]): Promise<void>;
  };
  onError: (error: unknown) => void;
}

interface Life {
  phase: "opening" | "open" | "draining";
}

export class Shards {
  readonly #options: ShardsOptions;
  readonly #lives = new Map<number, Life>();
  /** The end of each shard's last life while it lasts. */
  readonly #ending = new Map<number, Promise<void>>();
  #stopped = false;

  constructor(options: ShardsOptions) {
    this.#options = options;
  }

  /** Whether the shard's jobs may be taken, as far as its life goes. Its lease is another question. */
  isOpen(shard: number): boolean {
    return this.#lives.get(shard)?.phase === "open";
  }

  /** The lease is ours from now on. */
  acquired(shards: readonly number[]): void {
    for (const shard of shards) {
      const { phase } = this.#lives.get(shard) ?? {};
      if (this.#stopped || phase === "opening" || phase === "open") continue;
      const life: Life = { phase: "opening" };
      this.#lives.set(shard, life);
      void this.#open(shard, life);
    }
  }

  async #open(shard: number, life: Life): Promise<void> {
    const { ensureConsumers, intake, onError } = this.#options;
    await this.#ending.get(shard);
    await Promise.resolve(ensureConsumers(shard)).catch(onError);
    if (this.#lives.get(shard) !== life || life.phase !== "opening") return;
    life.phase = "open";
    intake.open([shard]);
  }

  /** The lease is gone without warning: everything stops at once. */
  lost(shards: number[]): void {
    const { intake, worker, onError } = this.#options;
    for (const shard of shards) this.#lives.delete(shard);
    worker.lose(shards);
    void this.#endWith(shards, intake.close(shards)).catch(onError);
  }

  /**
   * The lease is about to be given up: resolves when it may be. Asked again meanwhile, it is the same drain.
   * @throws what its parts threw.
   */
  async drain(shards: readonly number[]): Promise<void> {
    const begun = shards.filter((shard) => this.#lives.get(shard)?.phase === "draining");
    const fresh = shards.filter((shard) => this.#lives.has(shard) && !begun.includes(shard));
    const drains = begun.map((shard) => this.#ending.get(shard));
    if (fresh.length > 0) drains.push(this.#drain(fresh));
    await Promise.all(drains);
  }

  async #drain(shards: number[]): Promise<void> {
    const lives = shards.map((shard) => this.#lives.get(shard)!);
    for (const life of lives) life.phase = "draining";
    try {
      await this.#endWith(shards, this.#settle(shards));
    } finally {
      for (const [i, shard] of shards.entries()) if (this.#lives.get(shard) === lives[i]) this.#lives.delete(shard);
    }
  }

  async #settle(shards: number[]): Promise<void> {
    await this.#options.intake.close(shards);
    await this.#options.worker.drain(shards);
  }

  /** Remembers that these lives end with it, whether or not it fails. @returns the end itself. */
  #endWith(shards: readonly number[], end: Promise<void>): Promise<void> {
    const ended = Promise.allSettled([...shards.map((shard) => this.#ending.get(shard)), end]).then(() => {
      for (const shard of shards) if (this.#ending.get(shard) === ended) this.#ending.delete(shard);
    });
    for (const shard of shards) this.#ending.set(shard, ended);
    return end;
  }

  /** Drains everything; nothing is opened any more. Safe twice and before anything was acquired. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.drain([...this.#lives.keys()]);
    await Promise.all(this.#ending.values());
  }
}
