import { describe, expect, test } from "bun:test";
import { jitter } from "./jitter.ts";

describe("the curve of pace over jitter", () => {
  test("has a share of the limit and a rate of 429s for each level", async () => {
    const { figures, violations } = await jitter.run({ seed: 1, variant: "curve", short: true });
    expect(violations).toEqual([]);
    for (const ms of [0, 50]) {
      expect(figures[`share % at ${ms} ms`]).toBeGreaterThan(10);
      expect(figures[`429s per 10,000 at ${ms} ms`]).toBeGreaterThanOrEqual(0);
    }
  }, 120_000);
});
