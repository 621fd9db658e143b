import { describe, expect, test } from "bun:test";
import { takeover } from "./takeover.ts";

describe("two delivery replicas of which one is killed", () => {
  test("leave its bots to the other one, and never add up to more than a bot may send", async () => {
    const { figures } = await takeover.run({ seed: 2, variant: "kill9", short: true });
    expect(figures.bots).toBeGreaterThan(0);
    // The figure itself is the scenario's to judge, on a machine that does nothing else meanwhile.
    expect(figures.seconds).toBeLessThan(20);
    expect(figures["busiest second across"]).toBeLessThanOrEqual(30);
  }, 120_000);
});
