import { describe, expect, test } from "bun:test";
import { judge } from "../../bench/figure.ts";
import { inFlight, interleave, median } from "../../bench/measure.ts";

describe("interleave", () => {
  test("gives every side its turn in every round, and every side the first turn in time", async () => {
    const turns: string[] = [];
    const side = (name: string) => async (round: number) => {
      turns.push(name);
      return round;
    };
    const numbers = await interleave(2, { a: side("a"), b: side("b") });
    expect(turns.join("")).toBe("abbaab");
    expect(numbers).toEqual({ a: [1, 2], b: [1, 2] });
  });

  test("counts the only round of a quick run", async () => {
    expect(await interleave(1, { a: async () => 7 })).toEqual({ a: [7] });
  });
});

describe("median", () => {
  test("is the middle one, or the mean of the two in the middle", () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });
});

describe("inFlight", () => {
  test("runs every number once and never more than allowed at once", async () => {
    const seen: number[] = [];
    let now = 0;
    let most = 0;
    await inFlight(50, 4, async (i) => {
      most = Math.max(most, ++now);
      await Promise.resolve();
      seen.push(i);
      now--;
    });
    expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i));
    expect(most).toBe(4);
  });
});

describe("judge", () => {
  const figure = { name: "a row", unit: "ms", product: [30, 10, 20], floor: { name: "floor", numbers: [10, 10, 10] } };

  test("judges the median of the rounds' ratios", () => {
    const goal = { of: "ratio", is: "at most", limit: 1.9 } as const;
    const verdict = judge({ ...figure, unit: "ms", goal });
    expect(verdict).toEqual({ ours: 20, floor: 10, ratio: { median: 2, low: 1, high: 3 }, met: false });
  });

  test("judges ours alone where the goal says so", () => {
    const goal = { of: "value", is: "at least", limit: 20 } as const;
    expect(judge({ name: "a row", unit: "ms", product: [20], goal }).met).toBe(true);
  });
});
