import { describe, expect, test } from "bun:test";
import type { Sql } from "#services/database/client.ts";
import { Holds, type HoldsOptions } from "#services/delivery/holds.ts";
import type { BotApiReply } from "#services/delivery/outcome.ts";
import { HoldReason } from "#services/ledger/send.ts";
import { systemClock } from "#services/platform/clock.ts";
import { eventually } from "../support/eventually.ts";
import { createTestDatabase } from "../support/postgres.ts";
import { allLeases, createWorld } from "../support/world.ts";

const WELL: BotApiReply = { answer: "ok", messageId: 0 };

/** Two bots, and holds whose probes are answered by `getMe`, by the bot's id. */
async function setup(options: { getMe?: (botId: number) => Promise<BotApiReply>; wrap?: (sql: Sql) => Sql } = {}) {
  const { getMe = async () => WELL, wrap = (sql: Sql) => sql } = options;
  const database = await createTestDatabase();
  const world = await createWorld(database.sql, { bots: 2 });
  const errors: unknown[] = [];
  const lifted: number[] = [];
  const asked: number[] = [];
  const skipped = { ms: 0 };
  const settings: HoldsOptions = {
    sql: wrap(database.sql),
    clock: { ...systemClock, monotonicMs: () => performance.now() + skipped.ms },
    openToken: (botId) => String(botId),
    getMe: async (token) => {
      asked.push(Number(token));
      return await getMe(Number(token));
    },
    shards: () => [...allLeases.keys()],
    onError: (error) => void errors.push(error),
    onLifted: (botId) => void lifted.push(botId),
  };
  const holds = new Holds(settings);
  const lane = async (botId: number) => {
    const [row] = await database.sql<{ reason: number; leftMs: number | null }[]>`
      SELECT reason, extract(epoch FROM hold_until - now())::float8 * 1000 AS "leftMs" FROM lane WHERE bot_id = ${botId}`;
    return row;
  };
  const skip = (ms: number) => {
    skipped.ms += ms;
  };
  const [one, other] = world.botIds as [number, number];
  return { ...world, one, other, holds, lane, skip, errors, lifted, asked, [Symbol.asyncDispose]: database.drop };
}

describe("Holds", () => {
  test("keeps the longer one of two 429s", async () => {
    await using world = await setup();
    world.holds.rateLimited(world.one, 30);
    await world.holds.flush();
    world.holds.rateLimited(world.one, 3);
    await world.holds.flush();
    const { reason, leftMs } = (await world.lane(world.one))!;
    expect(reason).toBe(HoldReason.rateLimited);
    expect(leftMs).toBeGreaterThan(25_000);
    expect(leftMs).toBeLessThanOrEqual(30_100);
  });

  test("leaves an operator's hold alone", async () => {
    await using world = await setup();
    await world.sql`INSERT INTO lane (bot_id, reason) VALUES (${world.one}, ${HoldReason.operator})`;
    world.holds.rateLimited(world.one, 30);
    world.holds.breaker(world.one);
    world.holds.tokenDead({ botId: world.one, tokenVersion: 1 });
    await world.holds.flush();
    expect(await world.lane(world.one)).toMatchObject({ reason: HoldReason.operator });
  });

  test("is written as soon as Postgres is back, which a flush waits for", async () => {
    let away = true;
    await using world = await setup({
      wrap: (sql) =>
        new Proxy(sql, {
          apply: (target, self, args) =>
            away ? Promise.reject(new Error("Postgres is away.")) : Reflect.apply(target, self, args),
        }),
    });
    world.holds.rateLimited(world.one, 30);
    await eventually(() => world.errors.length >= 2);
    let flushed = false;
    const flushing = world.holds.flush().then(() => {
      flushed = true;
    });
    expect(flushed).toBe(false);
    world.skip(10_000);
    away = false;
    await flushing;
    // What has passed meanwhile is not held again.
    expect((await world.lane(world.one))!.leftMs).toBeLessThan(20_500);
  });
});

describe("a probe", () => {
  test("lifts the hold of a bot that is well", async () => {
    await using world = await setup();
    world.holds.breaker(world.one);
    await world.holds.flush();
    await world.holds.probe();
    await eventually(() => world.lifted.length === 1);
    expect([world.lifted, world.asked, await world.lane(world.one)]).toEqual([[world.one], [world.one], undefined]);
  });

  test("comes at growing intervals while the Bot API is not well", async () => {
    await using world = await setup({ getMe: async () => ({ answer: "refused" }) });
    world.holds.breaker(world.one);
    await world.holds.flush();
    const seen: number[] = [];
    for (let second = 0; second < 120; second++) {
      const before = world.asked.length;
      await world.holds.probe();
      if (world.asked.length > before) seen.push(second);
      await eventually(() => world.holds.probing === 0);
      world.skip(1_000);
    }
    expect(seen.slice(0, 5)).toEqual([0, 1, 3, 7, 15]);
    expect(seen.slice(5).map((second, i) => second - seen[i + 4]!)).toEqual([16, 30, 30]);
    expect(await world.lane(world.one)).toMatchObject({ reason: HoldReason.breaker });
  });

  test("that hangs keeps no other bot waiting", async () => {
    await using world = await setup({
      getMe: (botId) => (botId === world.one ? new Promise(() => {}) : Promise.resolve(WELL)),
    });
    for (const botId of world.botIds) world.holds.breaker(botId);
    await world.holds.flush();
    await world.holds.probe();
    await world.holds.probe();
    await eventually(() => world.lifted.length === 1);
    expect([world.lifted, world.asked]).toEqual([[world.other], [world.one, world.other]]);
  });
});
