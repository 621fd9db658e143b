import { describe, expect, test } from "bun:test";
import { storm } from "./storm.ts";

describe("a bot that is answered 429 again and again", () => {
  test("keeps every pause, and leaves the other bots their pace", async () => {
    const { figures, violations } = await storm.run({ seed: 1, variant: "429", short: true });
    expect(violations).toEqual([]);
    expect(figures["429s"]).toBeGreaterThan(0);
    // Far below what a machine that does nothing else shows: tests run side by side.
    expect(figures["mean share %"]).toBeGreaterThan(30);
  }, 120_000);
});
