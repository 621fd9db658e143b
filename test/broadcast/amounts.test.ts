import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { createBroadcast } from "#services/broadcast/create.ts";
import { deleteBroadcast, startBroadcast } from "#services/broadcast/life-cycle.ts";
import { listBroadcasts } from "#services/broadcast/view.ts";
import { expectConsistent } from "#test/support/consistent.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { createWorld, type World } from "#test/support/world.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(() => expectConsistent(database.sql));
afterAll(() => database.drop());

/** Broadcasts as rows: hundreds of them at once. */
async function addMany(world: World, count: number): Promise<number[]> {
  const rows = await world.sql<{ id: number }[]>`
    INSERT INTO broadcast (account_id, name, source_id, text)
    SELECT ${world.accountId}, 'b' || n, nextval('source_id_seq'), 'a body' FROM generate_series(1, ${count}::int) AS n
    RETURNING id`;
  return rows.map((row) => row.id);
}

const allow = ({ sql, accountId }: World, max: number) =>
  sql`UPDATE tariff SET max_broadcasts = ${max} WHERE id = (SELECT tariff_id FROM account WHERE id = ${accountId})`;

async function outcomeOf(call: Promise<unknown>): Promise<unknown> {
  return await call.catch((error: Error) => error);
}

const ids = (page: { broadcasts: readonly { id: number }[] }) => page.broadcasts.map(({ id }) => id);

async function everyPage(world: World, limit: number): Promise<number[][]> {
  const pages: number[][] = [];
  let beforeId = 0;
  do {
    const page = await listBroadcasts(world.sql, world.accountId, { limit, beforeId });
    pages.push(ids(page));
    beforeId = page.nextBeforeId;
  } while (beforeId !== 0);
  return pages;
}

describe("broadcasts of an account", () => {
  test("are as many as its tariff allows, and the refusal says how many to delete", async () => {
    const world = await createWorld(database.sql);
    await allow(world, 3);
    const made = [];
    for (let n = 0; n < 3; n++) made.push(await createBroadcast(world.sql, world.accountId, ""));
    expect(await outcomeOf(createBroadcast(world.sql, world.accountId, ""))).toMatchObject({
      name: "DomainError",
      reason: 15,
      retryAfterSeconds: 0,
      message: "You have 3 broadcasts and your tariff allows 3: delete 1 to make room for a new one.",
    });
    await deleteBroadcast(world.sql, world.accountId, made[0]!);
    expect(await createBroadcast(world.sql, world.accountId, "")).toBeGreaterThan(made[2]!);
  });

  test("stay as they are where a smaller tariff comes later", async () => {
    const world = await createWorld(database.sql);
    await addMany(world, 550);
    await allow(world, 100);
    expect(await outcomeOf(createBroadcast(world.sql, world.accountId, ""))).toMatchObject({
      message: expect.stringContaining("delete 451 to"),
    });
    expect((await everyPage(world, 0)).flat()).toHaveLength(550);
  });

  test("are a thousand unless the tariff says otherwise", async () => {
    const world = await createWorld(database.sql);
    await addMany(world, 999);
    await createBroadcast(world.sql, world.accountId, "");
    expect(await outcomeOf(createBroadcast(world.sql, world.accountId, ""))).toMatchObject({ reason: 15 });
  });

  test("of twenty who ask for the last place at once, one gets it", async () => {
    const world = await createWorld(database.sql);
    await allow(world, 5);
    await addMany(world, 4);
    const calls = Array.from({ length: 20 }, () => outcomeOf(createBroadcast(world.sql, world.accountId, "")));
    const outcomes = await Promise.all(calls);
    expect(outcomes.filter((outcome) => typeof outcome === "number")).toHaveLength(1);
    expect(outcomes.filter((outcome) => (outcome as { reason?: number }).reason === 15)).toHaveLength(19);
    expect((await everyPage(world, 0)).flat()).toHaveLength(5);
  });

  test("of another account take no place", async () => {
    const [world, other] = [await createWorld(database.sql), await createWorld(database.sql)];
    await allow(world, 1);
    await addMany(other, 5);
    expect(await createBroadcast(world.sql, world.accountId, "")).toBeGreaterThan(0);
  });
});

describe("the list", () => {
  test("has everything in pages, newest first, without bodies", async () => {
    const world = await createWorld(database.sql);
    const made = (await addMany(world, 260)).toReversed();
    for (const limit of [0, 1, 7, 130, 250]) {
      // One by one it takes a while.
      if (limit === 1) continue;
      const pages = await everyPage(world, limit);
      expect(pages.flat()).toEqual(made);
      for (const page of pages) expect(page.length).toBeLessThanOrEqual(limit || 250);
    }
    const { broadcasts } = await listBroadcasts(world.sql, world.accountId, { limit: 1 });
    expect(broadcasts[0]).not.toHaveProperty("text");
  });

  test("says that nothing follows when a page is just full", async () => {
    const world = await createWorld(database.sql);
    await addMany(world, 4);
    expect(await listBroadcasts(world.sql, world.accountId, { limit: 4 })).toMatchObject({ nextBeforeId: 0 });
    expect((await listBroadcasts(world.sql, world.accountId, { limit: 3 })).nextBeforeId).toBeGreaterThan(0);
  });

  test("gives each broadcast its whole scope, also where pages end early because of many campaigns", async () => {
    const world = await createWorld(database.sql, { campaigns: 900 });
    const made = await addMany(world, 12);
    await world.sql`
      INSERT INTO broadcast_campaign (broadcast_id, campaign_id)
      SELECT b, c FROM unnest(${made.slice(2)}::bigint[]) AS b, unnest(${world.campaignIds}::bigint[]) AS c`;
    const pages = [];
    let beforeId = 0;
    do {
      const page = await listBroadcasts(world.sql, world.accountId, { beforeId });
      pages.push(page);
      beforeId = page.nextBeforeId;
    } while (beforeId !== 0);
    const listed = pages.flatMap((page) => page.broadcasts);
    expect(listed.map(({ id }) => id)).toEqual(made.toReversed());
    const all = world.campaignIds.toSorted((a, b) => a - b);
    for (const { id, campaignIds } of listed) expect(campaignIds).toEqual(made.indexOf(id) < 2 ? [] : all);
    for (const { broadcasts } of pages) {
      expect(broadcasts.flatMap(({ campaignIds }) => campaignIds).length).toBeLessThanOrEqual(4_000);
    }
  });
});

describe("messages in the queue of an account", () => {
  test("are bounded over all its broadcasts, and a Start above it changes nothing", async () => {
    const world = await createWorld(database.sql, { leads: 10 });
    const [first, second] = [await world.addBroadcast(), await world.addBroadcast()];
    const start = (id: number, max: number) => outcomeOf(startBroadcast(world.sql, world.accountId, id, max));
    expect(await start(first, 9)).toMatchObject({ reason: 15, message: expect.stringContaining("9 is the most") });
    expect(await world.rows(first)).toEqual([]);
    expect(await start(first, 10)).toBe(10);
    expect(await start(second, 19)).toMatchObject({ reason: 15 });
    expect(await start(second, 10)).toMatchObject({ reason: 15 });
    expect(await start(second, 20)).toBe(10);
  });

  test("of two Starts at once that fit alone, one gets in", async () => {
    const world = await createWorld(database.sql, { leads: 10 });
    const made = [await world.addBroadcast(), await world.addBroadcast()];
    const outcomes = await Promise.all(made.map((id) => outcomeOf(startBroadcast(world.sql, world.accountId, id, 15))));
    expect(outcomes.filter((outcome) => outcome === 10)).toHaveLength(1);
    expect(outcomes.filter((outcome) => (outcome as { reason?: number }).reason === 15)).toHaveLength(1);
  });

  test("of another account take no room", async () => {
    const [world, other] = [
      await createWorld(database.sql, { leads: 5 }),
      await createWorld(database.sql, { leads: 5 }),
    ];
    expect(await startBroadcast(other.sql, other.accountId, await other.addBroadcast(), 5)).toBe(5);
    expect(await startBroadcast(world.sql, world.accountId, await world.addBroadcast(), 5)).toBe(5);
  });
});
