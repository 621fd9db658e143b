import { describe, expect, test } from "bun:test";
import type { Sql } from "#services/core/database/client.ts";
import { HoldReason } from "#services/core/ledger/send.ts";
import { Holds } from "#services/delivery/holds.ts";
import { systemClock } from "#services/platform/clock.ts";
import { eventually } from "../support/eventually.ts";
import { createTestDatabase } from "../support/postgres.ts";
import { createWorld } from "../support/world.ts";

/** Bots of their own. */
async function setup(options: { bots?: number; wrap?: (sql: Sql) => Sql } = {}) {
  const { wrap = (sql: Sql) => sql, bots = 2 } = options;
  const database = await createTestDatabase();
  const world = await createWorld(database.sql, { bots });
  const errors: unknown[] = [];
  const skipped = { ms: 0 };
  const holds = new Holds({
    sql: wrap(database.sql),
    clock: { ...systemClock, monotonicMs: () => performance.now() + skipped.ms },
    onError: (error) => void errors.push(error),
  });
  const lanes = async () => {
    const rows = await database.sql<{ botId: number; reason: HoldReason; leftMs: number | null }[]>`
      SELECT bot_id AS "botId", reason, extract(epoch FROM hold_until - now())::float8 * 1000 AS "leftMs"
      FROM lane ORDER BY bot_id, reason`;
    return [...rows];
  };
  const skip = (ms: number) => {
    skipped.ms += ms;
  };
  return { ...world, holds, lanes, skip, errors, [Symbol.asyncDispose]: database.drop };
}

describe("Holds", () => {
  test("keeps the longer one of two 429s", async () => {
    await using world = await setup();
    world.holds.rateLimited(world.botId, 30);
    await world.holds.flush();
    world.holds.rateLimited(world.botId, 3);
    await world.holds.flush();
    const [held] = await world.lanes();
    expect(held!.reason).toBe(HoldReason.rateLimited);
    expect(held!.leftMs).toBeGreaterThan(25_000);
    expect(held!.leftMs).toBeLessThanOrEqual(30_100);
  });

  test("keeps each reason beside the others: none hides or ends another", async () => {
    await using world = await setup();
    await world.sql`INSERT INTO lane (bot_id, reason) VALUES (${world.botId}, ${HoldReason.operator})`;
    world.holds.rateLimited(world.botId, 30);
    world.holds.breaker(world.botId);
    world.holds.tokenDead({ botId: world.botId, tokenVersion: 1 });
    await world.holds.flush();
    const { rateLimited, tokenDead, breaker, operator } = HoldReason;
    expect((await world.lanes()).map(({ reason }) => reason)).toEqual([rateLimited, tokenDead, breaker, operator]);
  });

  test("is written as soon as Postgres is back, which a flush waits for", async () => {
    let away = true;
    await using world = await setup({
      wrap: (sql) =>
        new Proxy(sql, {
          apply: (target, self, args) => {
            if (!away) return Reflect.apply(target, self, args);
            const refused = Promise.reject(new Error("Postgres is away."));
            // A part of a statement is never awaited.
            refused.catch(() => undefined);
            return refused;
          },
        }),
    });
    world.holds.rateLimited(world.botId, 30);
    await eventually(() => world.errors.length >= 2);
    let flushed = false;
    const flushing = world.holds.flush().then(() => {
      flushed = true;
    });
    expect([flushed, world.holds.isWriting(world.botId)]).toEqual([false, true]);
    world.skip(10_000);
    away = false;
    await flushing;
    // What has passed meanwhile is not held again.
    expect((await world.lanes())[0]!.leftMs).toBeLessThan(20_500);
    expect(world.holds.isWriting(world.botId)).toBe(false);
  });

  test("opens the breaker of the Bot API's address when the third bot's opens within 30 s", async () => {
    await using world = await setup({ bots: 4 });
    const [first, second, third, fourth] = world.botIds as [number, number, number, number];
    const open = async (...bots: number[]) => {
      for (const bot of bots) world.holds.breaker(bot);
      await world.holds.flush();
      return (await world.lanes()).map(({ botId }) => botId);
    };
    expect(await open(first, first, second)).toEqual([first, second]);
    await world.sql`UPDATE lane SET since = since - interval '31 s' WHERE bot_id = ${first}`;
    expect(await open(third)).toEqual([first, second, third]);
    expect(await open(fourth)).toEqual([0, first, second, third, fourth]);
  });

  test("opens it once when three open at the same moment, and never for tokens that cannot be opened", async () => {
    await using world = await setup({ bots: 6 });
    for (const bot of world.botIds.slice(0, 3)) world.holds.breaker(bot, "No such key.");
    await world.holds.flush();
    expect((await world.lanes()).map(({ botId }) => botId)).toEqual(world.botIds.slice(0, 3));
    for (const bot of world.botIds.slice(3)) world.holds.breaker(bot);
    await world.holds.flush();
    expect((await world.lanes()).map(({ botId }) => botId)).toEqual([0, ...world.botIds]);
  });
});
