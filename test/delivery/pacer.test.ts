import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ChatPacer, Pacer } from "#services/delivery/pacer.ts";

/** The most instants in any half-open second. */
function busiestSecond(instants: readonly number[]): number {
  let from = 0;
  let most = 0;
  for (const [i, instant] of instants.entries()) {
    while (instant - instants[from]! >= 1000) from++;
    most = Math.max(most, i - from + 1);
  }
  return most;
}

/** Sends from `fromMs` on whenever the pacer allows; whoever looks is late by `latenessMs` each time. */
function sendAll(
  pacer: Pacer,
  { fromMs, untilMs, latenessMs = () => 0 }: { fromMs: number; untilMs: number; latenessMs?: () => number },
) {
  const sent: number[] = [];
  for (let now = fromMs; now < untilMs; now = Math.max(now, pacer.nextAt(now)) + latenessMs()) {
    for (; pacer.nextAt(now) <= now; sent.push(now)) pacer.record(now);
  }
  return sent;
}

/** Numbers from 0 to 1, always the same ones. */
function randomNumbers(): () => number {
  let seed = 7;
  return () => {
    seed = (seed * 16_807) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
}

function gaps(instants: readonly number[]): number[] {
  return instants.slice(1).map((instant, i) => instant - instants[i]!);
}

const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ waitMs: fc.double({ min: 0, max: 60, noNaN: true }) }) },
    { weight: 2, arbitrary: fc.record({ waitMs: fc.double({ min: 60, max: 3_000, noNaN: true }) }) },
    { weight: 1, arbitrary: fc.record({ limit: fc.integer({ min: 1, max: 60 }) }) },
    { weight: 1, arbitrary: fc.record({ slowDown: fc.integer({ min: 0, max: 3_000 }) }) },
  ),
  { minLength: 50, maxLength: 400 },
);

describe("Pacer", () => {
  test("never lets more than the limit into any second, whatever the pattern of calls", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 0, max: 20 }),
        steps,
        (limit, guardMs, pattern) => {
          const pacer = new Pacer({ limit, guardMs });
          const sent: { at: number; limit: number }[] = [];
          let now = 0;
          for (const step of pattern) {
            if ("limit" in step) pacer.setLimit(step.limit);
            else if ("slowDown" in step) pacer.slowDown(now, now + step.slowDown);
            else now += step.waitMs;
            // A burst: everything that the pacer lets through at this moment.
            for (; pacer.nextAt(now) <= now; sent.push({ at: now, limit: pacer.limit })) pacer.record(now);
          }
          for (const [i, { at, limit: allowed }] of sent.entries()) {
            const inSecond = sent.slice(0, i + 1).filter((other) => at - other.at < 1000).length;
            // Each send is judged by the limit under which it was let through.
            expect(inSecond).toBeLessThanOrEqual(allowed);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  test("spaces sends evenly from the first one on", () => {
    const sent = sendAll(new Pacer({ limit: 30 }), { fromMs: 5_000, untilMs: 8_000 });
    for (const gap of gaps(sent)) expect(gap).toBeCloseTo(1008 / 30, 6);
  });

  test.each([1, 30, 100, 1000])("reaches 99 %% of a limit of %d in a minute, with timers that are late", (limit) => {
    const random = randomNumbers();
    const latenessMs = () => random() * 1.8;
    const sent = sendAll(new Pacer({ limit }), { fromMs: 0, untilMs: 60_000, latenessMs });
    expect(sent.length).toBeGreaterThanOrEqual(Math.floor(limit * 60 * 0.99));
    expect(busiestSecond(sent)).toBeLessThanOrEqual(limit);
  });

  test("loses nothing to short stalls and little to long ones, and keeps inside the window", () => {
    const random = randomNumbers();
    const share = (chance: number, stallMs: number) => {
      const latenessMs = () => random() * 1.5 + (random() < chance ? random() * stallMs : 0);
      const sent = sendAll(new Pacer({ limit: 30 }), { fromMs: 0, untilMs: 60_000, latenessMs });
      expect(busiestSecond(sent)).toBe(30);
      return sent.length / (60 * 30);
    };
    expect(share(0.1, 20)).toBeGreaterThanOrEqual(0.99);
    expect(share(0.03, 100)).toBeGreaterThanOrEqual(0.98);
    // 1 % of the sends come after a stall of up to half a second: some 4 s in the minute, 7 % of it.
    expect(share(0.01, 500)).toBeGreaterThanOrEqual(0.95);
  });

  test("catches up at four times the pace, not all at once", () => {
    const pacer = new Pacer({ limit: 30 });
    const before = sendAll(pacer, { fromMs: 0, untilMs: 1_000 });
    const after = sendAll(pacer, { fromMs: before.at(-1)! + 500, untilMs: 4_000 });
    expect(Math.min(...gaps(after))).toBeCloseTo(1008 / 120 - 2, 6);
    expect(busiestSecond([...before, ...after])).toBeLessThanOrEqual(30);
  });

  test("has nothing to catch up with after a rest", () => {
    const pacer = new Pacer({ limit: 30 });
    sendAll(pacer, { fromMs: 0, untilMs: 1_000 });
    const after = sendAll(pacer, { fromMs: 60_000, untilMs: 61_000 });
    for (const gap of gaps(after)) expect(gap).toBeCloseTo(1008 / 30, 6);
  });

  test("takes a first 429 for jitter, once for all of one burst: its guard grows, and shrinks slowly", () => {
    const pacer = new Pacer({ limit: 30 });
    for (const at of [1_000, 1_020, 1_050]) pacer.slowDown(at, 4_000);
    expect(pacer.rate(4_000)).toBe(30);
    const [first, second] = gaps(sendAll(pacer, { fromMs: 4_000, untilMs: 5_000 }));
    expect(first).toBeCloseTo((1_000 + 8 + 16) / 30, 6);
    expect(second).toBeCloseTo(first!, 3);
    pacer.slowDown(30_000);
    expect(gaps(sendAll(pacer, { fromMs: 31_000, untilMs: 31_100 }))[0]).toBeCloseTo(
      (1_008 + 1.5 * (16 - 1.3)) / 30,
      2,
    );
    expect(gaps(sendAll(pacer, { fromMs: 900_000, untilMs: 900_100 }))[0]).toBeCloseTo(1_008 / 30, 6);
  });

  test("takes 429s that do not end for a lower limit, and recovers", () => {
    const pacer = new Pacer({ limit: 30 });
    pacer.slowDown(1_000, 4_000);
    pacer.slowDown(5_100, 6_100);
    expect(pacer.rate(6_100)).toBeCloseTo(30 * 0.75, 6);
    pacer.slowDown(7_100, 8_100);
    expect(pacer.rate(8_100)).toBeCloseTo(30 * (0.75 + 0.01) * 0.75, 6);
    expect(pacer.rate(30_000)).toBeLessThan(30);
    expect(pacer.rate(60_000)).toBe(30);
  });

  test("counts a send from when it was written, however late that was", () => {
    const pacer = new Pacer({ limit: 2 });
    const [first, second] = [pacer.record(0), pacer.record(504)];
    pacer.wrote(first!, 700);
    pacer.wrote(second!, 504);
    expect(pacer.nextAt(1_008)).toBe(504 + 1_006);
    pacer.record(1_510);
    expect(pacer.nextAt(1_510)).toBe(700 + 1_006);
    pacer.wrote(first!, 1_900);
    expect(pacer.nextAt(1_706)).toBe(1_510 + 1_006);
  });

  test("never stops altogether, however many 429s there are", () => {
    const pacer = new Pacer({ limit: 30 });
    for (let at = 0; at < 100_000; at += 1_000) pacer.slowDown(at);
    expect(pacer.rate(100_000)).toBeCloseTo(3, 0);
  });

  test("counts the sends of the last second against a limit that goes down and up again", () => {
    const pacer = new Pacer({ limit: 30 });
    const sent = sendAll(pacer, { fromMs: 0, untilMs: 1_000 });
    pacer.setLimit(5);
    pacer.setLimit(30);
    sent.push(...sendAll(pacer, { fromMs: 1_000, untilMs: 3_000 }));
    expect(busiestSecond(sent)).toBeLessThanOrEqual(30);
  });

  test("lets a higher limit count at once", () => {
    const pacer = new Pacer({ limit: 1 });
    pacer.record(0);
    pacer.setLimit(1_000);
    expect(pacer.nextAt(0)).toBeLessThanOrEqual(1_008);
    const sent = sendAll(pacer, { fromMs: 1_008, untilMs: 2_008 });
    expect(sent.length).toBeGreaterThan(980);
  });

  test("is lifted by an infinite limit", () => {
    const pacer = new Pacer({ limit: Number.POSITIVE_INFINITY });
    for (let i = 0; i < 1_000; i++) pacer.record(7);
    expect(pacer.nextAt(7)).toBe(7);
    expect(pacer.quietAt()).toBe(Number.NEGATIVE_INFINITY);
  });

  test("says when somebody else may send for the bot", () => {
    const pacer = new Pacer({ limit: 30 });
    pacer.record(500);
    expect(pacer.quietAt()).toBeGreaterThanOrEqual(1_500);
  });
});

describe("ChatPacer", () => {
  test("lets one message a second into a chat, and any number into others", () => {
    const chats = new ChatPacer();
    chats.record(1, 0);
    expect(chats.nextAt(1)).toBeGreaterThanOrEqual(1_000);
    expect(chats.nextAt(2)).toBe(Number.NEGATIVE_INFINITY);
  });

  test("promises places one behind the other", () => {
    const chats = new ChatPacer(1_000);
    chats.record(1, 0);
    expect([chats.promise(1, 100), chats.promise(1, 100), chats.promise(1, 2_500)]).toEqual([2_000, 3_000, 4_000]);
    expect(chats.promise(2, 100)).toBe(1_100);
  });
});
