/**
 * Which bots may have a streak of refusals, so that an accepted send of any other bot costs nothing. Read again from Postgres
 * by the loop of probes.ts. What was added since the last read stays for one more: its transaction may not have been
 * committed when that began.
 */
export class KnownStreaks {
  #known = new Set<number>();
  #added = new Set<number>();

  has(botId: number): boolean {
    return this.#known.has(botId);
  }

  add(botId: number): void {
    this.#known.add(botId);
    this.#added.add(botId);
  }

  refresh(botIds: readonly number[]): void {
    this.#known = new Set([...botIds, ...this.#added]);
    this.#added = new Set();
  }
}
