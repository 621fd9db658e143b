import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { RateLimit } from "#services/platform/rate-limit.ts";
import { eventually } from "#test/support/eventually.ts";

describe("RateLimit", () => {
  test("takes as many calls of a key as it may, whatever others do, and says how long to wait", async () => {
    const keys = fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 6 }), keys, async (calls, order) => {
        const limit = new RateLimit({ calls, windowSeconds: 60 });
        const taken = new Map<string, number>();
        for (const key of order) {
          const before = taken.get(key) ?? 0;
          expect((await limit.look(key)) > 0).toBe(before > calls);
          const seconds = await limit.take(key);
          expect(seconds > 0).toBe(before >= calls);
          if (seconds > 0) expect(seconds).toBeLessThanOrEqual(60);
          taken.set(key, before + 1);
        }
      }),
      { numRuns: 50 },
    );
  });

  test("takes them again when the window is over", async () => {
    const limit = new RateLimit({ calls: 1, windowSeconds: 1 });
    expect(await limit.take("a")).toBe(0);
    expect(await limit.take("a")).toBe(1);
    await eventually(async () => (await limit.look("a")) === 0);
    expect(await limit.take("a")).toBe(0);
  });

  test("counts keys above its memory together, and leaves those that it knows alone", async () => {
    const limit = new RateLimit({ calls: 3, windowSeconds: 60, maxKeys: 2 });
    for (const key of ["a", "b"]) expect(await limit.take(key)).toBe(0);
    const strangers = [];
    for (let n = 0; n < 5; n++) strangers.push((await limit.take(`stranger ${n}`)) > 0);
    expect(strangers).toEqual([false, false, false, true, true]);
    expect(await limit.look("stranger 99")).toBeGreaterThan(0);
    for (const key of ["a", "b"]) expect(await limit.take(key)).toBe(0);
  });
});
