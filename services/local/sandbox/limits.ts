/**
 * "At most `limit` in any 1,000 ms", exactly: the last `limit` admitted instants are remembered, and the next one is
 * admitted when the oldest of them is a full second old. A token bucket would let nearly twice the limit through.
 */
export interface SlidingWindow {
  /** Takes a place for a call that arrived at `atMs`; false when the second is full. Instants must not go back. */
  admit(atMs: number): boolean;
}

const windowMs = 1_000;

/** A limit of 0 admits everything. */
export function createSlidingWindow(limit: number): SlidingWindow {
  if (limit === 0) return { admit: () => true };
  const instants = new Float64Array(limit).fill(Number.NEGATIVE_INFINITY);
  let oldest = 0;
  return {
    admit(atMs) {
      if (atMs - instants[oldest]! < windowMs) return false;
      instants[oldest] = atMs;
      oldest = oldest + 1 === limit ? 0 : oldest + 1;
      return true;
    },
  };
}

/** Keeps the largest number of instants that ever fell into 1,000 ms. */
export interface BusiestSecond {
  add(atMs: number): void;
  peak(): number;
}

export function createBusiestSecond(): BusiestSecond {
  let ring = new Float64Array(64);
  let first = 0;
  let count = 0;
  let peak = 0;

  function grow(): void {
    const bigger = new Float64Array(ring.length * 2);
    for (let i = 0; i < count; i++) bigger[i] = ring[(first + i) % ring.length]!;
    ring = bigger;
    first = 0;
  }

  return {
    add(atMs) {
      while (count > 0 && atMs - ring[first]! >= windowMs) {
        first = (first + 1) % ring.length;
        count--;
      }
      if (count === ring.length) grow();
      ring[(first + count) % ring.length] = atMs;
      count++;
      if (count > peak) peak = count;
    },
    peak: () => peak,
  };
}

/**
 * One chat's allowance as a single number, the instant at which it is whole again. Returns that number after one more
 * message, or undefined when the chat takes none now.
 */
export function afterOneMore(
  wholeAgainAtMs: number,
  atMs: number,
  perSecond: number,
  burst: number,
): number | undefined {
  const stepMs = 1_000 / perSecond;
  const next = Math.max(wholeAgainAtMs, atMs) + stepMs;
  // A hair of slack: instants are fractions, and their sums round.
  return next - atMs > Math.max(1, burst) * stepMs + 1e-6 ? undefined : next;
}
