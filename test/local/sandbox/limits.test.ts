import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { afterOneMore, createBusiestSecond, createSlidingWindow } from "#services/local/sandbox/limits.ts";

const gaps = fc.array(fc.double({ min: 0, max: 400, noNaN: true }), { minLength: 1, maxLength: 200 });

function instantsFrom(steps: readonly number[]): number[] {
  let now = 0;
  return steps.map((step) => {
    now += step;
    return now;
  });
}

function inSecondUpTo(instants: readonly number[], end: number): number {
  return instants.filter((instant) => instant <= end && end - instant < 1_000).length;
}

describe("the sliding window", () => {
  test("refuses the 31st within 1,000 ms and admits it once the first is a second old", () => {
    const window = createSlidingWindow(30);
    for (let i = 0; i < 30; i++) expect(window.admit(i)).toBe(true);
    expect(window.admit(999.9)).toBe(false);
    expect(window.admit(1_000)).toBe(true);
    expect(window.admit(1_000)).toBe(false);
  });

  test("admits exactly what leaves every second within the limit", () => {
    fc.assert(
      fc.property(gaps, fc.integer({ min: 1, max: 10 }), (steps, limit) => {
        const window = createSlidingWindow(limit);
        const admitted: number[] = [];
        for (const instant of instantsFrom(steps)) {
          const fits = inSecondUpTo(admitted, instant) < limit;
          expect(window.admit(instant)).toBe(fits);
          if (fits) admitted.push(instant);
        }
      }),
    );
  });

  test("admits everything at limit 0", () => {
    const window = createSlidingWindow(0);
    expect(Array.from({ length: 1_000 }, () => window.admit(5)).every(Boolean)).toBe(true);
  });
});

describe("the busiest second", () => {
  test("is the largest count within any 1,000 ms", () => {
    fc.assert(
      fc.property(gaps, (steps) => {
        const busiest = createBusiestSecond();
        const instants = instantsFrom(steps);
        for (const instant of instants) busiest.add(instant);
        // Compared up to each index, since equal instants follow one another.
        const counts = instants.map((end, at) => inSecondUpTo(instants.slice(0, at + 1), end));
        expect(busiest.peak()).toBe(Math.max(...counts));
      }),
    );
  });

  test("holds more than it was made for", () => {
    const busiest = createBusiestSecond();
    for (let i = 0; i < 5_000; i++) busiest.add(i / 10);
    expect(busiest.peak()).toBe(5_000);
  });
});

describe("a chat's allowance", () => {
  test("takes a burst, then one a second", () => {
    let whole = 0;
    const send = (atMs: number): boolean => {
      const next = afterOneMore(whole, atMs, 1, 3);
      whole = next ?? whole;
      return next !== undefined;
    };
    expect([0, 0, 0, 0, 999, 1_000, 1_001, 2_000].map(send)).toEqual([
      ...[true, true, true, false],
      ...[false, true, false, true],
    ]);
  });
});
