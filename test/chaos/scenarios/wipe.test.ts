import { describe, expect, test } from "bun:test";
import { wipe } from "./wipe.ts";

describe("a broadcast whose nats-server is killed and loses its store", () => {
  test("completes by itself, with nothing in doubt and nobody messaged twice", async () => {
    const { figures, violations } = await wipe.run({ seed: 1, variant: "middle", short: true });
    expect(violations).toEqual([]);
    expect(figures).toMatchObject({ leads: 600, accepted: 600, twice: 0, unconfirmed: 0 });
  }, 120_000);
});
