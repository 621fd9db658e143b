import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { startBroadcast } from "#services/broadcast/life-cycle.ts";
import { SendReason, SendState } from "#services/core/ledger/send.ts";
import { expectConsistent } from "#test/support/consistent.ts";
import { holdLock } from "#test/support/held-transaction.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { claimedOf, countersOf, createWorld, inWords, rowsOf, type WorldOptions } from "#test/support/world.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(() => expectConsistent(database.sql));
afterAll(() => database.drop());

/** Leads in status 0 whose entry is followed up by a block that is on, due since a second ago. */
async function setup({ dueInMs, on, ...options }: WorldOptions & { dueInMs?: number; on?: boolean } = {}) {
  const world = await createWorld(database.sql, { leads: 2, ...options });
  const sourceId = await world.addBlock({ status: 0, on });
  const jobs = await world.schedule(sourceId, world.leads, dueInMs);
  const { sql } = world;
  return {
    ...world,
    sourceId,
    jobs,
    queueOf: world.jobs,
    counters: () => countersOf(sql, sourceId),
    rows: () => rowsOf(sql, sourceId),
    setBlock: (isOn: boolean) => sql`UPDATE block SET "on" = ${isOn} WHERE source_id = ${sourceId}`,
  };
}

describe("a follow-up", () => {
  test("is claimed with its block's body, and takes no quota", async () => {
    const world = await setup({ dailyCap: 1 });
    const sends = claimedOf(await world.claim(world.jobs));
    expect(sends).toHaveLength(2);
    expect(sends[0]).toMatchObject({ kind: 2, entry: 1, quotaDay: null, accountId: world.accountId, status: 0 });
    expect(await world.used()).toBe(0);
    await world.settle(sends, { result: "sent", messageId: 1 });
    expect(await world.counters()).toMatchObject({ enqueued: 2, sent: 2, queued: 0 });
  });

  test("waits until it is due", async () => {
    const world = await setup({ dueInMs: 10_000 });
    expect(inWords(await world.claim(world.jobs))).toEqual(["stale", "stale"]);
    const later = { clock: { offsetMs: () => 10_500 } };
    expect(inWords(await world.claim(world.jobs, later))).toEqual(["claimed", "claimed"]);
  });

  test.each<[string, (world: Awaited<ReturnType<typeof setup>>) => Promise<unknown>, SendReason]>([
    ["its block is off", (world) => world.setBlock(false), SendReason.blockOff],
    [
      "its campaign is paused",
      (world) => world.sql`UPDATE campaign SET state = 2 WHERE id = ${world.campaignId}`,
      SendReason.campaignNotLive,
    ],
    [
      "its campaign is deleted",
      (world) => world.sql`UPDATE campaign SET state = 3 WHERE id = ${world.campaignId}`,
      SendReason.campaignNotLive,
    ],
    [
      "the account has lapsed",
      (world) => world.sql`UPDATE account SET paid_until = now() WHERE id = ${world.accountId}`,
      SendReason.entitlement,
    ],
    [
      "the lead has another status",
      (world) => world.sql`UPDATE lead SET status = 1, entry = 2 WHERE campaign_id = ${world.campaignId}`,
      SendReason.statusChanged,
    ],
    [
      "the lead has entered the status again: that entry has a follow-up of its own",
      (world) => world.sql`UPDATE lead SET entry = 3 WHERE campaign_id = ${world.campaignId}`,
      SendReason.statusChanged,
    ],
    [
      "the lead has opted out",
      (world) => world.sql`UPDATE lead SET opted_out = true WHERE campaign_id = ${world.campaignId}`,
      SendReason.optedOut,
    ],
    [
      "the lead is gone",
      (world) => world.sql`DELETE FROM lead WHERE campaign_id = ${world.campaignId}`,
      SendReason.leadDeleted,
    ],
  ])("is dropped when %s", async (_, change, reason) => {
    const world = await setup();
    await change(world);
    expect(inWords(await world.claim(world.jobs))).toEqual([`dropped ${reason}`, `dropped ${reason}`]);
    expect(await world.counters()).toMatchObject({ enqueued: 2, dropped: 2, queued: 0 });
    expect(await world.rows()).toEqual(Array(2).fill(expect.objectContaining({ state: SendState.dropped, reason })));
  });

  test("that is not due is not dropped either: its block may be on again by then", async () => {
    const world = await setup({ dueInMs: 60_000, on: false });
    expect(inWords(await world.claim(world.jobs))).toEqual(["stale", "stale"]);
    await world.setBlock(true);
    const later = { clock: { offsetMs: () => 60_500 } };
    expect(inWords(await world.claim(world.jobs, later))).toEqual(["claimed", "claimed"]);
  });

  test("is not dropped by a job that names another bot", async () => {
    const world = await setup({ bots: 2, campaigns: 1, on: false });
    const forged = world.jobs.map((job) => ({ ...job, botId: world.botIds[1]! }));
    expect(inWords(await world.claim(forged))).toEqual(["stale", "stale"]);
  });

  test("goes to each entry once, however often the lead comes back", async () => {
    const world = await setup({ leads: 1 });
    await world.settle(claimedOf(await world.claim(world.jobs)), { result: "sent", messageId: 1 });
    await world.sql`UPDATE lead SET entry = 2 WHERE id = ${world.leads[0]!.id}`;
    const second = await world.schedule(world.sourceId, world.leads);
    expect(inWords(await world.claim([...world.jobs, ...second]))).toEqual(["stale", "claimed"]);
  });

  test("waits while its block is being saved, and does not stand there", async () => {
    const world = await setup();
    const release = await holdLock(
      world.sql,
      (tx) => tx`UPDATE block SET text = 'New' WHERE source_id = ${world.sourceId}`,
    );
    expect(inWords(await world.claim(world.jobs))).toEqual(["wait gate", "wait gate"]);
    await release();
    expect(claimedOf(await world.claim(world.jobs))).toHaveLength(2);
  });

  test("waits while its bot is held", async () => {
    const world = await setup();
    await world.sql`INSERT INTO lane (bot_id, reason) VALUES (${world.botId}, 2)`;
    expect(inWords(await world.claim(world.jobs))).toEqual(["wait bot", "wait bot"]);
  });

  test("that met a fault of the body has failed: nobody can resume a block", async () => {
    const world = await setup();
    const sends = claimedOf(await world.claim(world.jobs));
    await world.settle(sends, { result: "bodyFault", reason: SendReason.body });
    expect(await world.counters()).toMatchObject({ failed: 2, queued: 0 });
  });

  test("that comes back is tried again in its only run", async () => {
    const world = await setup();
    const sends = claimedOf(await world.claim(world.jobs));
    await world.settle(sends, { result: "putBack", reason: SendReason.connectionRefused });
    expect(claimedOf(await world.claim(world.jobs)).map((send) => send.attempts)).toEqual([2, 2]);
  });

  test("and a broadcast's send to the same lead are claimed side by side", async () => {
    const world = await setup();
    const id = await world.addBroadcast();
    await startBroadcast(world.sql, world.accountId, id);
    const answers = await world.claim([...world.jobs, ...(await world.queueOf(id))]);
    expect(inWords(answers)).toEqual(Array(4).fill("claimed"));
    expect(await world.used()).toBe(2);
  });
});
