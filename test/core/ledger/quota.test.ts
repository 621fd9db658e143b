import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { cancelBroadcast, resetBroadcast, startBroadcast } from "#services/broadcast/life-cycle.ts";
import { getQuota } from "#services/broadcast/quota.ts";
import { roomToday } from "#services/core/ledger/claim.ts";
import { SendReason } from "#services/core/ledger/send.ts";
import { settleSends, ticketOf, UNKNOWN_ACCOUNT } from "#services/core/ledger/settle.ts";
import { expectConsistent } from "#test/support/consistent.ts";
import { holdLock } from "#test/support/held-transaction.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { untilBlocked } from "#test/support/until-blocked.ts";
import { claimedOf, createWorld, inWords, type WorldOptions } from "#test/support/world.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(() => expectConsistent(database.sql));
afterAll(() => database.drop());

const putBack = { result: "putBack", reason: SendReason.rateLimited } as const;

async function setup(options: WorldOptions = {}) {
  const world = await createWorld(database.sql, { leads: 10, dailyCap: 4, ...options });
  const id = await world.addBroadcast();
  await startBroadcast(world.sql, world.accountId, id);
  return { ...world, id };
}

describe("roomToday", () => {
  test.each([
    [0, 0, Number.POSITIVE_INFINITY],
    [0, 1_000_000, Number.POSITIVE_INFINITY],
    [500, 0, 500],
    [500, 499, 1],
    [500, 500, 0],
    // The cap was lowered during the day.
    [100, 500, 0],
  ])("of a cap of %d with %d used is %d", (cap, used, room) => {
    expect(roomToday(cap, used)).toBe(room);
  });
});

describe("the daily cap", () => {
  test("lets through as many as it has room for, and the rest wait", async () => {
    const world = await setup();
    const answers = inWords(await world.claim(await world.jobs(world.id)));
    expect(answers.filter((answer) => answer === "claimed")).toHaveLength(4);
    expect(answers.filter((answer) => answer === "wait quota")).toHaveLength(6);
    expect(await world.used()).toBe(4);
  });

  test("is not looked at while another claim has not said what it took", async () => {
    const world = await setup();
    const jobs = await world.jobs(world.id);
    await world.claim(jobs.slice(0, 1));
    // The first stands between its look at the day and its claim.
    const leads = jobs.slice(1, 4).map((job) => job.leadId);
    const release = await holdLock(world.sql, (tx) => tx`SELECT FROM send WHERE lead_id = ANY(${leads}) FOR UPDATE`);
    const first = world.claim(jobs.slice(1, 4));
    await untilBlocked(world.sql);
    const second = world.claim(jobs.slice(4));
    await untilBlocked(world.sql, 2);
    await release();
    expect(claimedOf(await first)).toHaveLength(3);
    expect(claimedOf(await second)).toHaveLength(0);
  });

  test("holds with four claimers side by side, each with a bot of its own", async () => {
    const world = await setup({ leads: 200, bots: 4, dailyCap: 60 });
    const jobs = await world.jobs(world.id);
    const claimers = world.botIds.map(async (botId) => {
      const own = jobs.filter((job) => job.botId === botId);
      const claimed = [];
      for (let from = 0; from < own.length; from += 5)
        claimed.push(...claimedOf(await world.claim(own.slice(from, from + 5))));
      return claimed;
    });
    expect((await Promise.all(claimers)).flat()).toHaveLength(60);
    expect(await world.used()).toBe(60);
  });

  test("is one for all broadcasts and bots of an account, and another account's is its own", async () => {
    const world = await setup({ bots: 2 });
    const other = await setup();
    const second = await world.addBroadcast();
    await startBroadcast(world.sql, world.accountId, second);
    const jobs = [...(await world.jobs(world.id, 3)), ...(await world.jobs(second)), ...(await other.jobs(other.id))];
    expect(claimedOf(await world.claim(jobs)).map((send) => send.accountId)).toEqual([
      ...Array(4).fill(world.accountId),
      ...Array(4).fill(other.accountId),
    ]);
  });

  test("lets exactly as many through again as were given back", async () => {
    const world = await setup();
    const sends = await world.claimQueued(world.id);
    const results = [
      putBack,
      { result: "failed", reason: SendReason.cannotSend, leaves: false },
      { result: "sent", messageId: 1 },
      { result: "unconfirmed", reason: SendReason.timeout },
    ] as const;
    await world.settle(sends, (_, i) => results[i]!);
    expect(await world.used()).toBe(2);
    expect(await world.claimQueued(world.id)).toHaveLength(2);
    expect(await world.claimQueued(world.id)).toHaveLength(0);
  });

  test("takes nothing for jobs that turn out to be dropped or stale", async () => {
    const world = await setup({ leads: 6 });
    await world.sql`UPDATE lead SET opted_out = true WHERE id = ${world.leads[0]!.id}`;
    expect(await world.claimQueued(world.id)).toHaveLength(3);
    expect(await world.used()).toBe(3);
    expect(await world.claimQueued(world.id)).toHaveLength(1);
  });

  test("counts by the UTC day of the claim: at midnight there is room again, and a give-back goes to its own day", async () => {
    const world = await setup();
    const first = await world.claimQueued(world.id);
    const day = 24 * 3_600_000;
    await world.sql`UPDATE account SET paid_until = now() + interval '10 days' WHERE id = ${world.accountId}`;
    const tomorrow = { clock: { offsetMs: () => day } };
    const second = claimedOf(await world.claim(await world.jobs(world.id), tomorrow));
    expect(second).toHaveLength(4);
    expect(first[0]!.quotaDay).not.toBe(second[0]!.quotaDay);

    await world.settle(first.slice(0, 1), putBack);

    const days = await world.sql<{ day: string; used: number }[]>`
      SELECT day, used FROM quota_day WHERE account_id = ${world.accountId} ORDER BY day`;
    expect([...days]).toEqual([
      { day: first[0]!.quotaDay!, used: 3 },
      { day: second[0]!.quotaDay!, used: 4 },
    ]);
    expect(await getQuota(world.sql, world.accountId)).toEqual({ cap: 4, used: 3, queued: 10 });
    expect(await getQuota(world.sql, world.accountId, tomorrow.clock)).toMatchObject({ used: 4 });
  });

  test("that is raised or lowered counts from the next claim on", async () => {
    const world = await setup();
    const setCap = (cap: number) => world.sql`
      UPDATE tariff SET daily_cap = ${cap} WHERE id = (SELECT tariff_id FROM account WHERE id = ${world.accountId})`;
    await world.claimQueued(world.id, 3);
    await setCap(2);
    expect(await world.claimQueued(world.id)).toHaveLength(0);
    await setCap(5);
    expect(await world.claimQueued(world.id)).toHaveLength(2);
    await setCap(0);
    expect(await world.claimQueued(world.id)).toHaveLength(5);
  });

  test("gets back what a claim took whose answer was lost, also when the broadcast was reset since", async () => {
    const world = await setup();
    const sends = await world.claimQueued(world.id);
    await cancelBroadcast(world.sql, world.accountId, world.id);
    await resetBroadcast(world.sql, world.accountId, world.id);
    const lost = sends.map((send) => ({
      ticket: { ...ticketOf(send), accountId: UNKNOWN_ACCOUNT, chatId: 0, revision: 0 },
      result: putBack,
    }));
    await settleSends(lost, { sql: world.sql });
    expect(await world.used()).toBe(0);
  });
});
