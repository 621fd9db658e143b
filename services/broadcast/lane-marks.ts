/**
 * What the relay remembers of one lane: which of its sends it has published, and when. Kept in memory only: a relay that
 * starts anew publishes the lane's window a second time, and the claim finds those messages stale.
 *
 * A send is *marked* from its publish until it is seen to be no longer sendable (claimed, dropped, paused), until delivery
 * says that it was acked unsent, or until the mark is `REPUBLISH_AFTER_MS` old: then the message is taken for lost.
 */

/** A sendable row that was published and not claimed for this long is published again. */
export const REPUBLISH_AFTER_MS = 15_000;

export class LaneMarks<Key> {
  readonly #publishedAt = new Map<Key, number>();

  get size(): number {
    return this.#publishedAt.size;
  }

  /**
   * Compares the lane's sendable head with what was published. Marks that are not in the head any more are dropped, but
   * for those behind its end that it says nothing about.
   * @returns the keys to publish now.
   */
  unpublished(head: readonly Key[], nowMs: number, isBehind: (key: Key) => boolean = () => false): Key[] {
    const present = new Set(head);
    for (const key of this.#publishedAt.keys()) {
      if (!present.has(key) && !isBehind(key)) this.#publishedAt.delete(key);
    }
    return head.filter((key) => {
      const publishedAt = this.#publishedAt.get(key);
      return publishedAt === undefined || nowMs - publishedAt >= REPUBLISH_AFTER_MS;
    });
  }

  mark(key: Key, nowMs: number): void {
    this.#publishedAt.set(key, nowMs);
  }

  unmark(key: Key): void {
    this.#publishedAt.delete(key);
  }

  clear(): void {
    this.#publishedAt.clear();
  }
}
