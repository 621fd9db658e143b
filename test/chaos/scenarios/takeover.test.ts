import { describe, expect, test } from "bun:test";
import { takeover } from "./takeover.ts";

describe("two delivery replicas of which one is killed", () => {
  test("leave its bots to the other one, and nobody is messaged twice", async () => {
    const { figures, violations } = await takeover.run({ seed: 2, variant: "kill9", short: true });
    expect(violations).toEqual([]);
    expect(figures.bots).toBeGreaterThan(0);
  }, 120_000);
});
