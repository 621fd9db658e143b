import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { cancelBroadcast, pauseBroadcast, resetBroadcast, startBroadcast } from "#services/broadcast/life-cycle.ts";
import type { SendJob } from "#services/core/ledger/claim.ts";
import { shutGate } from "#services/core/ledger/gate.ts";
import { SendKind, SendReason, SendState, shardOf } from "#services/core/ledger/send.ts";
import { expectConsistent } from "#test/support/consistent.ts";
import { holdLock } from "#test/support/held-transaction.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { allLeases, broadcastJob, claimedOf, createWorld, inWords, type WorldOptions } from "#test/support/world.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(() => expectConsistent(database.sql));
afterAll(() => database.drop());

/** A running broadcast with a job for every lead. */
async function setup(options: WorldOptions = {}) {
  const { sql } = database;
  const world = await createWorld(sql, { leads: 3, ...options });
  const id = await world.addBroadcast();
  await startBroadcast(sql, world.accountId, id);
  const { sourceId } = await world.broadcast(id);
  return { ...world, id, sourceId, queue: await world.jobs(id) };
}

describe("a claim", () => {
  test("takes queued rows onto the wire, with all that the send needs", async () => {
    const world = await setup({ leads: 2, campaigns: 1 });
    const before = Date.now();

    const answers = await world.claim(world.queue, { token: 77 });

    const [send] = claimedOf(answers);
    expect(answers).toHaveLength(2);
    expect(send).toMatchObject({
      ...{ kind: SendKind.broadcast, sourceId: world.sourceId, leadId: world.leads[0]!.id, entry: 0, token: 77 },
      ...{ accountId: world.accountId, botId: world.botId, chatId: world.leads[0]!.chatId, attempts: 1 },
      ...{ campaignId: world.campaignId, campaignCode: "C0", status: 0 },
      body: { revision: 1, parsed: { text: "Hello", entities: [] }, media: "", button: "", link: "" },
      bot: { tokenSealed: "sealed", tokenVersion: 1, messagesPerSecond: 30 },
    });
    expect(await world.counters(world.id)).toMatchObject({ enqueued: 2, queued: 0, sending: 2 });
    const [row] = await world.sql<{ rescueAt: Date }[]>`
      SELECT rescue_at AS "rescueAt" FROM send WHERE source_id = ${world.sourceId} LIMIT 1`;
    expect(row!.rescueAt.getTime()).toBeWithin(before + 14_000, Date.now() + 15_100);
  });

  test("gives the wire longer when there is media to upload", async () => {
    const world = await setup();
    await world.sql`UPDATE broadcast SET media = 'ref', media_type = 2 WHERE id = ${world.id}`;

    await world.claim(world.queue);

    const [row] = await world.sql<{ seconds: number }[]>`
      SELECT extract(epoch FROM rescue_at - now())::float8 AS seconds FROM send WHERE source_id = ${world.sourceId}`;
    expect(row!.seconds).toBeWithin(60, 66);
  });

  test("has nothing to do for no jobs", async () => {
    const world = await setup();
    expect(await world.claim([])).toEqual([]);
  });

  test("is for the row that the job names and no other time: a second one is stale", async () => {
    const world = await setup();
    await world.claim(world.queue);
    expect(inWords(await world.claim(world.queue))).toEqual(["stale", "stale", "stale"]);
  });

  test("answers a job that stands twice in one batch once, or its lead would be messaged twice", async () => {
    const world = await setup({ leads: 2 });
    const [first, second] = world.queue as [SendJob, SendJob];

    const answers = await world.claim([first, first, second, { ...first }, { ...first, botId: 999_999 }]);

    expect(inWords(answers)).toEqual(["claimed", "stale", "claimed", "stale", "stale"]);
    expect(await world.counters(world.id)).toMatchObject({ sending: 2, queued: 0 });
  });

  test("claims a row once for many claimers at the same time", async () => {
    const world = await setup({ leads: 20 });
    const answers = await Promise.all(Array.from({ length: 6 }, () => world.claim(world.queue)));
    expect(
      claimedOf(answers.flat())
        .map((send) => send.leadId)
        .sort(),
    ).toEqual(world.leads.map((lead) => lead.id).sort());
  });
});

describe("a claim is told to wait", () => {
  test("while the gate is shut, and does not stand at it", async () => {
    const world = await setup();
    const open = await holdLock(world.sql, (tx) => shutGate(tx, world.sourceId));
    expect(inWords(await world.claim(world.queue))).toEqual(["wait gate", "wait gate", "wait gate"]);
    await open();
    expect(await world.claimQueued(world.id)).toHaveLength(3);
  });

  test("while the broadcast is paused", async () => {
    const world = await setup({ leads: 1 });
    await pauseBroadcast(world.sql, world.accountId, world.id);
    expect(inWords(await world.claim(world.queue))).toEqual(["wait paused"]);
  });

  test("while the subscription has lapsed, and goes on when it is renewed", async () => {
    const world = await setup({ leads: 1 });
    await world.sql`UPDATE account SET paid_until = now() - interval '1 s' WHERE id = ${world.accountId}`;
    expect(inWords(await world.claim(world.queue))).toEqual(["wait entitlement"]);
    await world.sql`UPDATE account SET paid_until = NULL WHERE id = ${world.accountId}`;
    expect(inWords(await world.claim(world.queue))).toEqual(["wait entitlement"]);
    await world.sql`UPDATE account SET paid_until = now() + interval '1 day' WHERE id = ${world.accountId}`;
    expect(inWords(await world.claim(world.queue))).toEqual(["claimed"]);
  });

  test("from the moment that the subscription ends on Postgres' clock", async () => {
    const world = await setup({ leads: 1 });
    const offset = (ms: number) => ({ clock: { offsetMs: () => ms } });
    expect(inWords(await world.claim(world.queue, offset(3_600_001)))).toEqual(["wait entitlement"]);
    expect(inWords(await world.claim(world.queue, offset(3_500_000)))).toEqual(["claimed"]);
  });

  test("while the tariff is without the feature", async () => {
    const world = await setup({ leads: 1 });
    await world.sql`
      UPDATE tariff SET broadcasts = false WHERE id = (SELECT tariff_id FROM account WHERE id = ${world.accountId})`;
    expect(inWords(await world.claim(world.queue))).toEqual(["wait entitlement"]);
  });

  test("while its bot is held, and until when; other bots' sends go", async () => {
    const world = await setup({ leads: 2, bots: 2 });
    const until = new Date(Date.now() + 60_000);
    await world.sql`INSERT INTO lane (bot_id, reason, hold_until) VALUES (${world.botId}, 1, ${until})`;
    const answers = await world.claim(world.queue);
    expect(answers[0]).toEqual({ outcome: "wait", reason: "bot", until });
    expect(answers[1]!.outcome).toBe("claimed");
    await world.sql`UPDATE lane SET hold_until = now() - interval '1 s' WHERE bot_id = ${world.botId}`;
    expect(inWords(await world.claim(world.queue.slice(0, 1)))).toEqual(["claimed"]);
  });

  test("while its bot is held without a known end", async () => {
    const world = await setup({ leads: 1 });
    await world.sql`INSERT INTO lane (bot_id, reason) VALUES (${world.botId}, 2)`;
    expect(inWords(await world.claim(world.queue))).toEqual(["wait bot"]);
  });

  test.each([
    ["a fence that is not the lease's", new Map([...allLeases].map(([shard]) => [shard, 2]))],
    ["no lease at all", new Map<number, number>()],
  ])("with %s", async (_, leases) => {
    const world = await setup({ leads: 1 });
    expect(inWords(await world.claim(world.queue, { leases }))).toEqual(["wait lease"]);
  });

  test("with a lease of another role", async () => {
    const world = await setup({ leads: 1 });
    expect(inWords(await world.claim(world.queue, { role: 1 }))).toEqual(["wait lease"]);
  });

  test("when the lease has expired", async () => {
    const world = await setup({ leads: 1 });
    const expire = (interval: string) => world.sql`
      UPDATE shard_lease SET expires_at = now() + ${interval}::interval WHERE shard = ${shardOf(world.botId)}`;
    await expire("-1 s");
    expect(inWords(await world.claim(world.queue))).toEqual(["wait lease"]);
    await expire("1 hour");
    expect(inWords(await world.claim(world.queue))).toEqual(["claimed"]);
  });
});

describe("a forged or late job", () => {
  test.each<[string, (job: SendJob) => SendJob, string]>([
    ["another bot", (job) => ({ ...job, botId: job.botId + 1 }), "stale"],
    ["a bot that does not exist", (job) => ({ ...job, botId: 888_888 }), "stale"],
    ["the other kind", (job) => ({ ...job, kind: SendKind.followUp }), "wait gate"],
    ["an unknown source", (job) => ({ ...job, sourceId: 888_888 }), "stale"],
    ["an unknown lead", (job) => ({ ...job, leadId: 888_888 }), "stale"],
    ["another entry", (job) => ({ ...job, entry: 1 }), "stale"],
  ])("with %s claims nothing", async (_, forge, answer) => {
    const world = await setup({ leads: 1, bots: 2 });
    expect(inWords(await world.claim(world.queue.map(forge)))).toEqual([answer]);
    expect(await world.counters(world.id)).toMatchObject({ queued: 1, sending: 0, dropped: 0 });
  });

  test.each([
    ["paused", pauseBroadcast],
    ["cancelled", cancelBroadcast],
  ])("of the other kind does not slip past a %s broadcast behind a true one", async (_, stop) => {
    const world = await setup({ leads: 2 });
    await stop(world.sql, world.accountId, world.id);
    const [first, second] = world.queue as [SendJob, SendJob];
    const answers = await world.claim([first, { ...second, kind: SendKind.followUp }]);
    expect(claimedOf(answers)).toEqual([]);
    expect((await world.rows(world.id)).map((row) => row.state)).toEqual([SendState.queued, SendState.queued]);
  });

  test("of the other kind does not slip past the daily cap", async () => {
    const world = await setup({ leads: 2, dailyCap: 1 });
    const [first, second] = world.queue as [SendJob, SendJob];
    const answers = await world.claim([first, { ...second, kind: SendKind.followUp }]);
    expect(inWords(answers)).toEqual(["claimed", "wait gate"]);
  });

  test("of a closed run claims nothing, also when a later run is open", async () => {
    const world = await setup({ leads: 2 });
    await cancelBroadcast(world.sql, world.accountId, world.id);
    expect(inWords(await world.claim(world.queue))).toEqual(["stale", "stale"]);
    // The next run is for one of the two only; the other could be messaged.
    await world.sql`UPDATE lead SET status = 1 WHERE id = ${world.leads[1]!.id}`;
    await world.sql`UPDATE broadcast SET statuses = 2 WHERE id = ${world.id}`;
    expect(await startBroadcast(world.sql, world.accountId, world.id)).toBe(1);
    expect(inWords(await world.claim(world.queue))).toEqual(["stale", "claimed"]);
  });

  test("of an ended generation claims nothing", async () => {
    const world = await setup();
    await cancelBroadcast(world.sql, world.accountId, world.id);
    await resetBroadcast(world.sql, world.accountId, world.id);
    await startBroadcast(world.sql, world.accountId, world.id);
    expect(inWords(await world.claim(world.queue))).toEqual(["stale", "stale", "stale"]);
    expect(await world.claimQueued(world.id)).toHaveLength(3);
  });

  test("changes nothing for the true ones of its batch", async () => {
    const world = await setup({ leads: 2 });
    const forged = broadcastJob(888_888, world.leads[0]!);
    expect(inWords(await world.claim([forged, ...world.queue]))).toEqual(["stale", "claimed", "claimed"]);
  });
});

describe("a lead that may not be messaged any more", () => {
  test("is dropped by the claim, with the reason", async () => {
    const world = await setup({ leads: 5, campaigns: 2 });
    const [optedOut, , unreachable, , deleted] = world.leads.map((lead) => lead.id) as number[];
    await world.sql`UPDATE lead SET opted_out = true WHERE id = ${optedOut!}`;
    await world.sql`UPDATE lead SET unreachable = ${SendReason.blocked} WHERE id = ${unreachable!}`;
    await world.sql`DELETE FROM lead WHERE id = ${deleted!}`;
    await world.sql`UPDATE campaign SET state = 3 WHERE id = ${world.campaignIds[1]!}`;

    const answers = await world.claim(world.queue);

    const { optedOut: O, unreachable: U, campaignNotLive: C, leadDeleted: D } = SendReason;
    expect(inWords(answers)).toEqual([`dropped ${O}`, `dropped ${C}`, `dropped ${U}`, `dropped ${C}`, `dropped ${D}`]);
    expect((await world.rows(world.id)).map((row) => row.reason)).toEqual([O, C, U, C, D]);
    expect(await world.counters(world.id)).toMatchObject({ queued: 0, sending: 0, dropped: 5 });
    expect(await world.used()).toBe(0);
  });

  test("keeps its message where the campaign is only paused", async () => {
    const world = await setup({ leads: 1 });
    await world.sql`UPDATE campaign SET state = 2 WHERE id = ${world.campaignId}`;
    expect(inWords(await world.claim(world.queue))).toEqual(["claimed"]);
  });
});

describe("a send that is not due yet", () => {
  test("is neither claimed nor dropped before its time", async () => {
    const world = await setup({ leads: 2 });
    const sends = await world.claimQueued(world.id);
    await world.settle(sends, { result: "putBack", reason: SendReason.rateLimited, retryAfterMs: 5_000 });
    await world.sql`UPDATE lead SET opted_out = true WHERE id = ${world.leads[0]!.id}`;

    expect(inWords(await world.claim(world.queue))).toEqual(["stale", "stale"]);

    const later = { clock: { offsetMs: () => 5_001 } };
    expect(inWords(await world.claim(world.queue, later))).toEqual([`dropped ${SendReason.optedOut}`, "claimed"]);
  });

  test("can be tried more often than a small number counts", async () => {
    const world = await setup({ leads: 1 });
    await world.sql`UPDATE send SET attempts = 32767 WHERE source_id = ${world.sourceId}`;
    expect(inWords(await world.claim(world.queue))).toEqual(["claimed"]);
  });
});
