import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import {
  cancelBroadcast,
  pauseBroadcast,
  resetBroadcast,
  reviewBroadcast,
  startBroadcast,
} from "#services/broadcast/life-cycle.ts";
import { getBroadcast, listBroadcasts } from "#services/broadcast/view.ts";
import { SendReason, SendState } from "#services/core/ledger/send.ts";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";
import { expectConsistent } from "#test/support/consistent.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { createWorld, type World, type WorldOptions } from "#test/support/world.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(() => expectConsistent(database.sql));
afterAll(() => database.drop());

async function setup(options: WorldOptions & { statuses?: number } = {}) {
  const world = await createWorld(database.sql, options);
  const id = await world.addBroadcast({ statuses: options.statuses });
  const { sql, accountId } = world;
  return {
    ...world,
    id,
    start: () => startBroadcast(sql, accountId, id),
    get: () => getBroadcast(sql, accountId, id),
    set: (column: string, value: string | number | Date | null) =>
      sql`UPDATE broadcast SET ${sql(column)} = ${value} WHERE id = ${id}`,
  };
}

async function reasonOf(call: Promise<unknown>): Promise<string> {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return error instanceof DomainError ? ErrorReason[error.reason] : `no refusal: ${error}`;
}

const enqueued = async (world: Pick<World, "rows"> & { id: number }) =>
  (await world.rows(world.id)).map((row) => row.leadId);

describe("Start takes", () => {
  test.each([0, 1, 2, 4, 8, 16, 24, 31])("leads of the statuses in the mask %d", async (statuses) => {
    const world = await setup({ statuses });
    const leads = [];
    for (const status of [0, 1, 2, 3, 4]) leads.push(...(await world.addLeads(2, { status })));
    const expected = leads.filter((_, i) => (statuses >> Math.floor(i / 2)) & 1).map((lead) => lead.id);
    expect(await world.start()).toBe(expected.length);
    expect(await enqueued(world)).toEqual(expected);
  });

  test("leads of the campaigns in its scope only, and of all when it names none", async () => {
    const world = await setup({ bots: 2, campaigns: 3, leads: 9 });
    const scoped = await world.addBroadcast({ scope: world.campaignIds.slice(1) });
    const other = await createWorld(world.sql, { leads: 5 });
    expect(await startBroadcast(world.sql, world.accountId, scoped)).toBe(6);
    expect(await world.start()).toBe(9);
    expect(other.leads.map((lead) => lead.id)).not.toContainAnyValues(await enqueued(world));
  });

  test("leads that can be reached and have not opted out, of campaigns that are not deleted; paused ones keep theirs", async () => {
    const world = await setup({ campaigns: 3, leads: 9 });
    const [optedOut, unreachable] = world.leads.map((lead) => lead.id) as [number, number];
    await world.sql`UPDATE lead SET opted_out = true WHERE id = ${optedOut}`;
    await world.sql`UPDATE lead SET unreachable = ${SendReason.blocked} WHERE id = ${unreachable}`;
    await world.sql`UPDATE campaign SET state = 3 WHERE id = ${world.campaignIds[2]!}`;
    await world.sql`UPDATE campaign SET state = 2 WHERE id = ${world.campaignIds[1]!}`;
    expect(await world.start()).toBe(4);
  });

  test("nobody of a scope whose campaigns are all deleted", async () => {
    const world = await setup({ campaigns: 2, leads: 4 });
    const scoped = await world.addBroadcast({ scope: world.campaignIds.slice(0, 1) });
    await world.sql`UPDATE campaign SET state = 3 WHERE id = ${world.campaignId}`;
    expect(await startBroadcast(world.sql, world.accountId, scoped)).toBe(0);
  });

  test.each([
    ["created_from", "created_time", [1, 2]],
    ["created_to", "created_time", [0, 1]],
    ["status_from", "status_time", [1, 2]],
    ["status_to", "status_time", [0, 1]],
  ])("leads within %s, whose second counts whole", async (bound, column, expected) => {
    const world = await setup({ leads: 3 });
    const second = Date.UTC(2026, 4, 1, 12, 0, 0);
    // The first is before the second, the next within its last millisecond or first, the last after it.
    const inside = bound.endsWith("from") ? second : second + 999;
    const times = [second - 1, inside, second + 1000];
    for (const [i, time] of times.entries()) {
      await world.sql`UPDATE lead SET ${world.sql(column)} = ${new Date(time)} WHERE id = ${world.leads[i]!.id}`;
    }
    await world.set(bound, new Date(second));
    await world.start();
    expect(await enqueued(world)).toEqual(expected.map((i) => world.leads[i]!.id));
  });
});

describe("Start", () => {
  test("opens a run with everything queued, and says how many", async () => {
    const world = await setup({ leads: 7 });
    const before = await world.get();
    expect(await world.start()).toBe(7);
    expect(before).toMatchObject({ state: 0, total: 7, remaining: 7, startedAt: null });
    expect(await world.get()).toMatchObject({ state: 1, total: 7, remaining: 7, counters: { queued: 7, sent: 0 } });
    expect((await world.get()).startedAt!.getTime()).toBeWithin(Date.now() - 10_000, Date.now() + 1000);
  });

  test("with nobody to reach changes nothing", async () => {
    const world = await setup();
    const before = await world.sql`SELECT * FROM broadcast WHERE id = ${world.id}`;
    expect(await world.start()).toBe(0);
    expect(await world.sql`SELECT * FROM broadcast WHERE id = ${world.id}`).toEqual(before);
  });

  test("with nobody new to reach leaves done as it was", async () => {
    const world = await setup({ leads: 2 });
    await world.start();
    await world.settle(await world.claimQueued(world.id), { result: "sent", messageId: 1 });
    expect(await reviewBroadcast(world.sql, world.accountId, world.id)).toBe(2);
    const before = await world.sql`SELECT * FROM broadcast WHERE id = ${world.id}`;
    expect(await world.start()).toBe(0);
    expect(await world.sql`SELECT * FROM broadcast WHERE id = ${world.id}`).toEqual(before);
  });

  test("as a top-up takes new, failed, dropped and parked leads, and never those on the wire, sent or in doubt", async () => {
    const world = await setup({ leads: 7 });
    await world.start();
    const sends = await world.claimQueued(world.id, 5);
    await world.settle(sends.slice(0, 1), { result: "sent", messageId: 1 });
    await world.settle(sends.slice(1, 2), { result: "failed", reason: SendReason.cannotSend, leaves: false });
    await world.settle(sends.slice(2, 3), { result: "unconfirmed", reason: SendReason.timeout });
    await cancelBroadcast(world.sql, world.accountId, world.id);
    await world.settle(sends.slice(3, 4), { result: "putBack", reason: SendReason.connectionRefused });
    const [added] = await world.addLeads(1);
    expect(await world.get()).toMatchObject({ total: 8, remaining: 5, counters: { sent: 1, failed: 2, dropped: 3 } });

    expect(await world.start()).toBe(5);

    const rows = await world.rows(world.id);
    const ofRun = (run: number) => rows.filter((row) => row.run === run).map((row) => row.leadId);
    const [sent, failed, unconfirmed, dropped, sending, parked, parked2] = world.leads.map(
      (lead) => lead.id,
    ) as number[];
    expect(ofRun(2)).toEqual([failed!, dropped!, parked!, parked2!, added!.id]);
    expect(ofRun(1)).toEqual([sent!, unconfirmed!, sending!]);
    expect(await world.counters(world.id)).toMatchObject({
      ...{ enqueued: 8, queued: 5, sending: 1, sent: 1, unconfirmed: 1, failed: 0, dropped: 0 },
    });
    expect(await world.get()).toMatchObject({ total: 8, remaining: 6 });
  });

  test("as a top-up leaves dropped what its audience does not match any more", async () => {
    const world = await setup({ leads: 4 });
    await world.start();
    await cancelBroadcast(world.sql, world.accountId, world.id);
    await world.sql`UPDATE lead SET opted_out = true WHERE id = ${world.leads[0]!.id}`;
    expect(await world.start()).toBe(3);
    expect(await world.counters(world.id)).toMatchObject({ enqueued: 4, queued: 3, dropped: 1 });
  });

  test("after Reset reaches everybody again", async () => {
    const world = await setup({ leads: 3 });
    await world.start();
    await world.settle(await world.claimQueued(world.id), { result: "sent", messageId: 1 });
    await reviewBroadcast(world.sql, world.accountId, world.id);
    await resetBroadcast(world.sql, world.accountId, world.id);
    expect(await world.get()).toMatchObject({
      state: 0,
      total: 3,
      remaining: 3,
      counters: { sent: 0 },
      startedAt: null,
    });
    expect(await world.start()).toBe(3);
  });

  test("twenty times at once succeeds once", async () => {
    const world = await setup({ leads: 500 });
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, () => world.start().catch((error: DomainError) => ErrorReason[error.reason]!)),
    );
    expect(outcomes.filter((outcome) => outcome === 500)).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome === "WRONG_STATE")).toHaveLength(19);
    expect(await world.broadcast(world.id)).toMatchObject({ run: 1, total: 500 });
  });
});

describe("Start refuses", () => {
  const remove = (world: World) => world.sql`
    UPDATE tariff SET broadcasts = false WHERE id = (SELECT tariff_id FROM account WHERE id = ${world.accountId})`;

  test("another account's broadcast and one that does not exist alike", async () => {
    const world = await setup({ leads: 1 });
    const other = await createWorld(world.sql);
    expect(await reasonOf(startBroadcast(world.sql, other.accountId, world.id))).toBe("NOT_YOURS");
    expect(await reasonOf(startBroadcast(world.sql, world.accountId, 888_888))).toBe("NOT_YOURS");
  });

  test("without the feature, before it looks at state and body", async () => {
    const world = await setup({ leads: 1 });
    await remove(world);
    await world.set("state", 1);
    await world.set("text", "");
    expect(await reasonOf(world.start())).toBe("FEATURE_MISSING");
  });

  test("an open one, before it looks at the body", async () => {
    const world = await setup({ leads: 1 });
    await world.set("text", "");
    await world.set("state", 1);
    expect(await reasonOf(world.start())).toBe("WRONG_STATE");
    await world.set("state", 4);
    expect(await reasonOf(world.start())).toBe("WRONG_STATE");
    await world.set("state", 0);
  });

  test("an empty body, and enqueues nobody", async () => {
    const world = await setup({ leads: 1 });
    await world.set("text", " \n");
    expect(await reasonOf(world.start())).toBe("BODY_INVALID");
    expect(await world.rows(world.id)).toEqual([]);
  });
});

describe("total and remaining", () => {
  test("in the list stay those of the last Start; of a paused one they are counted now, parked leads included", async () => {
    const world = await setup({ leads: 4 });
    await world.start();
    const [first] = await world.claimQueued(world.id, 1);
    await world.settle([first!], { result: "sent", messageId: 1 });
    await world.addLeads(2);
    expect(await world.get()).toMatchObject({ total: 4, remaining: 3 });
    await pauseBroadcast(world.sql, world.accountId, world.id);
    expect(await world.get()).toMatchObject({ total: 6, remaining: 5 });
    expect((await listBroadcasts(world.sql, world.accountId)).broadcasts[0]).toMatchObject({ total: 4 });
  });

  test("of one that runs counts what is on the wire as queued", async () => {
    const world = await setup({ leads: 4 });
    await world.start();
    await world.claimQueued(world.id, 3);
    expect(await world.get()).toMatchObject({ remaining: 4, counters: { queued: 4 } });
    const states = (await world.rows(world.id)).map((row) => row.state);
    expect(states.filter((state) => state === SendState.sending)).toHaveLength(3);
  });
});
