import { describe, expect, test } from "bun:test";
import { Jitter, SharedJitter } from "#services/delivery/jitter.ts";

describe("Jitter", () => {
  test("grows with each burst up to a bound, and fades by a millisecond in 20 s", () => {
    const jitter = new Jitter();
    expect(jitter.at(0)).toBe(0);
    jitter.grow(0, 1_000);
    expect([jitter.at(0), jitter.at(1_000), jitter.at(21_000)]).toEqual([16, 16, 15]);
    jitter.grow(21_000, 21_000);
    expect(jitter.at(21_000)).toBe(22.5);
    for (let at = 22_000; at < 30_000; at += 1_000) jitter.grow(at, at);
    expect(jitter.at(30_000)).toBeCloseTo(100, 0);
    expect(jitter.at(3_000_000)).toBe(0);
  });
});

describe("SharedJitter", () => {
  test("is learnt where several bots got a 429 at once", () => {
    const jitter = new SharedJitter();
    for (const bot of [1, 2]) jitter.note(bot, 5_000);
    expect(jitter.at(5_000)).toBe(0);
    for (const bot of [3, 4, 5, 6]) jitter.note(bot, 5_900);
    expect(jitter.at(5_900)).toBe(16);
    for (const bot of [1, 2, 3]) jitter.note(bot, 7_000);
    expect(jitter.at(7_000)).toBeCloseTo(24, 0);
  });

  test("is not learnt from one bot, however many 429s it gets, nor from bots that get theirs now and then", () => {
    const jitter = new SharedJitter();
    for (let at = 0; at < 10_000; at += 100) jitter.note(7, at);
    for (let bot = 10; bot < 30; bot++) jitter.note(bot, bot * 1_000);
    expect(jitter.at(30_000)).toBe(0);
  });
});
