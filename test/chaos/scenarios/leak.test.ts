import { describe, expect, test } from "bun:test";
import { leak } from "./leak.ts";

describe("a bot's token", () => {
  test("gets out nowhere when the transport to the Bot API fails", async () => {
    const { figures, violations } = await leak.run({ seed: 1, variant: "transport", short: true });
    expect(violations).toEqual([]);
    expect(Object.values(figures)).toEqual([0, 0, 0]);
  }, 180_000);
});
