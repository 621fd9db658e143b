/** Rounds that take turns, and what is said of their numbers. */

/** One side of a comparison: does the work once and says how it went, in its unit. */
export type Side = (round: number) => Promise<number>;

/**
 * Runs every side once a round, beginning with another one each time, so that a machine that slows down or speeds up does
 * so for all of them. A round before the first warms everything up and is not counted.
 * @returns each side's numbers, round by round.
 */
export async function interleave<Name extends string>(
  rounds: number,
  sides: Record<Name, Side>,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(sides) as Name[];
  const numbers = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  const warmUps = rounds > 1 ? 1 : 0;
  for (let round = 0; round < rounds + warmUps; round++) {
    for (let i = 0; i < names.length; i++) {
      const name = names[(i + round) % names.length]!;
      const number = await sides[name](round);
      if (round >= warmUps) numbers[name].push(number);
    }
  }
  return numbers;
}

/** Milliseconds that the work takes. */
export async function timeMs(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Round by round, so that what slowed both sides of a round leaves its ratio alone. */
export function ratios(product: readonly number[], floor: readonly number[]): number[] {
  return product.map((number, round) => number / floor[round]!);
}

/** Polls until the condition holds; for waits that are long beside `pollMs`. Throws after `timeoutMs`. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  { pollMs = 20, timeoutMs = 600_000 } = {},
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`${what}: not within ${timeoutMs / 1000} s.`);
    await Bun.sleep(pollMs);
  }
}

/** Runs `work` for every number below `count`, with that many under way at once. */
export async function inFlight(count: number, atOnce: number, work: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  async function worker(): Promise<void> {
    while (next < count) await work(next++);
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, worker));
}
