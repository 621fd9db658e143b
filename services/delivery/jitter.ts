/**
 * How much later than written requests may arrive, as learnt from 429s that came although the pace was kept. Grows with each
 * burst of them and fades slowly: what made it come (a route, a busy machine) mostly lasts.
 */

/** What the first burst teaches, and by how much each further one makes it more. 100 ms leave 90 % of a bot's limit. */
const FIRST_MS = 16;
const GROWTH = 1.5;
const MAX_MS = 100;
/** How long it takes until it is a millisecond less. */
const MS_FADES_IN_MS = 20_000;

export class Jitter {
  #ms = 0;
  #fadesFromMs = Number.NEGATIVE_INFINITY;

  at(nowMs: number): number {
    return Math.max(0, this.#ms - Math.max(0, nowMs - this.#fadesFromMs) / MS_FADES_IN_MS);
  }

  /** A burst of 429s; it fades from `fadesFromMs` on. */
  grow(nowMs: number, fadesFromMs: number): void {
    this.#ms = Math.min(MAX_MS, Math.max(FIRST_MS, this.at(nowMs) * GROWTH));
    this.#fadesFromMs = fadesFromMs;
  }
}

/** Bots with a 429 within `BURST_MS` that make it one for all. */
const SHARED_BY = 3;
const BURST_MS = 1_000;

/**
 * Jitter that all bots of this process meet: learnt where several bots got a 429 at once, because that is not any bot's own
 * doing. One bot under a storm of 429s teaches the others nothing.
 */
export class SharedJitter extends Jitter {
  readonly #bots = new Map<number, number>();
  #grewAtMs = Number.NEGATIVE_INFINITY;

  note(botId: number, nowMs: number): void {
    for (const [bot, atMs] of this.#bots) if (nowMs - atMs >= BURST_MS) this.#bots.delete(bot);
    this.#bots.set(botId, nowMs);
    if (this.#bots.size < SHARED_BY || nowMs - this.#grewAtMs < BURST_MS) return;
    this.#grewAtMs = nowMs;
    this.grow(nowMs, nowMs);
  }
}
