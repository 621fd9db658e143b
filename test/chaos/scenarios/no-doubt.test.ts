import { describe, expect, test } from "bun:test";
import { natsKills, sigterm } from "./no-doubt.ts";

describe("a broadcast leaves nothing in doubt", () => {
  for (const [what, scenario] of Object.entries({
    "nats-server is killed": natsKills,
    "processes are told to stop": sigterm,
  })) {
    test(`while ${what}`, async () => {
      const { figures, violations } = await scenario.run({ seed: 1, variant: "random", short: true });
      expect(violations).toEqual([]);
      expect(figures).toMatchObject({ twice: 0, unconfirmed: 0 });
      expect(figures.faults).toBeGreaterThan(0);
    }, 120_000);
  }
});
