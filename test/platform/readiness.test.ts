import { describe, expect, test } from "bun:test";
import type { Clock } from "#services/platform/clock.ts";
import { createLogger } from "#services/platform/log.ts";
import { createReadiness } from "#services/platform/readiness.ts";

const log = createLogger({ service: "test", level: "silent" });

/** Time that stands until it is moved on. */
function createClock() {
  let nowMs = 0;
  const sleepers = new Set<{ untilMs: number; wake: () => void }>();
  const clock: Clock = {
    now: () => nowMs,
    monotonicMs: () => nowMs,
    sleep: (ms, signal) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      sleepers.add({ untilMs: nowMs + ms, wake: resolve });
      signal?.addEventListener("abort", () => resolve());
      return promise;
    },
  };
  const advance = async (ms: number) => {
    nowMs += ms;
    for (const sleeper of sleepers) {
      if (sleeper.untilMs > nowMs) continue;
      sleepers.delete(sleeper);
      sleeper.wake();
    }
    await settled();
  };
  return { clock, advance };
}

/** Whatever can go on without time has done so. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function setup(answer: { ready: boolean } = { ready: true }, maxWatchers?: number) {
  const { clock, advance } = createClock();
  let looks = 0;
  const check = async () => {
    looks += 1;
    return answer.ready;
  };
  const readiness = createReadiness({ check, log, clock, maxWatchers });
  return { readiness, advance, answer, looks: () => looks };
}

describe("createReadiness", () => {
  test("asks once for all who ask within half a second", async () => {
    const { readiness, advance, looks, answer } = setup();
    expect(await Promise.all(Array.from({ length: 300 }, () => readiness.isReady()))).not.toContain(false);
    answer.ready = false;
    expect(await readiness.isReady()).toBe(true);
    expect(looks()).toBe(1);
    await advance(500);
    expect(await readiness.isReady()).toBe(false);
    expect(looks()).toBe(2);
  });

  test("asks once a second for all who watch, and stops when the last has gone", async () => {
    const { readiness, advance, looks, answer } = setup();
    const told = Array.from({ length: 50 }, () => [] as boolean[]);
    const leaving = new AbortController();
    for (const list of told) readiness.watch((ready) => list.push(ready), leaving.signal);
    await settled();
    answer.ready = false;
    await advance(1_000);
    expect(told).toEqual(told.map(() => [true, false]));
    expect(looks()).toBe(2);
    leaving.abort();
    for (let second = 0; second < 3; second++) await advance(1_000);
    expect(looks()).toBe(2);
    readiness.watch(() => {}, new AbortController().signal);
    await settled();
    expect(looks()).toBe(3);
  });

  test("takes so many watchers, and another one when one has left", () => {
    const { readiness } = setup({ ready: true }, 2);
    const leaving = new AbortController();
    const watch = (signal: AbortSignal) => readiness.watch(() => {}, signal);
    const staying = new AbortController().signal;
    expect([watch(leaving.signal), watch(staying), watch(staying)]).toEqual([true, true, false]);
    leaving.abort();
    expect([watch(staying), watch(staying)]).toEqual([true, false]);
  });

  test.each([
    ["rejects", () => Promise.reject(new Error("away"))],
    ["does not come back", () => new Promise<boolean>(() => undefined)],
  ])("takes a check that %s for a no, and tries again", async (_what, failing) => {
    const { clock, advance } = createClock();
    let check: () => Promise<boolean> = failing;
    const readiness = createReadiness({ check: () => check(), log, clock });
    const answer = readiness.isReady();
    await advance(5_000);
    expect(await answer).toBe(false);
    check = async () => true;
    await advance(500);
    expect(await readiness.isReady()).toBe(true);
  });
});
