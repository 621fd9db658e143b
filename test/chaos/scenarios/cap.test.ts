import { describe, expect, test } from "bun:test";
import { cap } from "./cap.ts";

describe("a daily cap", () => {
  test("is used up exactly where nothing fails", async () => {
    const { figures, violations } = await cap.run({ seed: 1, variant: "quiet", short: true });
    expect(violations).toEqual([]);
    expect(figures).toMatchObject({ accepted: 500, unconfirmed: 0 });
  }, 120_000);

  test("is used up and never passed while replicas are killed", async () => {
    const { figures, violations } = await cap.run({ seed: 1, variant: "kills", short: true });
    expect(violations).toEqual([]);
    expect(figures["most ever used"]).toBe(500);
  }, 120_000);
});
