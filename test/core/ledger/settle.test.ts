import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { cancelBroadcast, startBroadcast } from "#services/broadcast/life-cycle.ts";
import type { Sql } from "#services/core/database/client.ts";
import { rescueSends } from "#services/core/ledger/rescue.ts";
import { SendReason, SendState } from "#services/core/ledger/send.ts";
import { type SendResult, settleSends, ticketOf } from "#services/core/ledger/settle.ts";
import { expectConsistent } from "#test/support/consistent.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { createWorld, type World, type WorldOptions } from "#test/support/world.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(() => expectConsistent(database.sql));
afterAll(() => database.drop());

const sent: SendResult = { result: "sent", messageId: 4711 };
const blocked: SendResult = { result: "failed", reason: SendReason.blocked, leaves: true };
const cannotSend: SendResult = { result: "failed", reason: SendReason.cannotSend, leaves: false };
const unknown: SendResult = { result: "unconfirmed", reason: SendReason.timeout };
const putBack: SendResult = { result: "putBack", reason: SendReason.connectionRefused };

/** A running broadcast with everything on the wire. */
async function setup(options: WorldOptions = {}) {
  const world = await createWorld(database.sql, { leads: 2, ...options });
  const id = await world.addBroadcast();
  await startBroadcast(world.sql, world.accountId, id);
  const sends = await world.claimQueued(id);
  return { ...world, id, sends };
}

/** Makes this world's claims look abandoned, and those of the tests before it safe. */
async function abandonAll({ sql, id }: { sql: Sql; id: number }) {
  await sql`
    UPDATE send SET rescue_at = now() + CASE WHEN source_id = (SELECT source_id FROM broadcast WHERE id = ${id})
      THEN interval '-1 s' ELSE interval '1 h' END WHERE state = ${SendState.sending}`;
}

async function unreachableOf(world: Pick<World, "sql" | "accountId">): Promise<number[]> {
  const rows = await world.sql<{ unreachable: number }[]>`
    SELECT l.unreachable FROM lead l JOIN bot b ON b.id = l.bot_id WHERE b.account_id = ${world.accountId} ORDER BY l.id`;
  return rows.map((row) => row.unreachable);
}

describe("a settle", () => {
  test.each<[string, SendResult, object, object, number]>([
    ["sent", sent, { state: SendState.sent, reason: 0, messageId: 4711 }, { sent: 2 }, 2],
    [
      "failed",
      cannotSend,
      { state: SendState.failed, reason: SendReason.cannotSend, messageId: null },
      { failed: 2 },
      0,
    ],
    ["unconfirmed", unknown, { state: SendState.unconfirmed, reason: SendReason.timeout }, { unconfirmed: 2 }, 2],
    ["put back", putBack, { state: SendState.queued, reason: SendReason.connectionRefused, run: 1 }, { queued: 2 }, 0],
  ])("writes %s into row, counters and quota", async (_, result, row, counters, used) => {
    const world = await setup();
    const settled = await world.settle(world.sends, result);
    expect(settled).toHaveLength(2);
    expect(await world.rows(world.id)).toEqual([expect.objectContaining(row), expect.objectContaining(row)]);
    expect(await world.counters(world.id)).toMatchObject({ enqueued: 2, queued: 0, sending: 0, ...counters });
    expect(await world.used()).toBe(used);
  });

  test.each([
    ["sent", sent],
    ["failed", blocked],
    ["unconfirmed", unknown],
    ["put back", putBack],
  ] as const)("of %s changes nothing when it is repeated", async (_, result) => {
    const world = await setup();
    await world.settle(world.sends, result);
    const before = [await world.rows(world.id), await world.counters(world.id), await world.used()];
    await world.settle(world.sends, result);
    expect([await world.rows(world.id), await world.counters(world.id), await world.used()]).toEqual(before);
  });

  test("under another token than the claim's changes nothing", async () => {
    const world = await setup();
    const forged = world.sends.map((send) => ({ ...send, token: send.token + 1 }));
    for (const result of [sent, blocked, unknown, putBack]) expect(await world.settle(forged, result)).toEqual([]);
    expect(await world.counters(world.id)).toMatchObject({ sending: 2 });
    expect(await unreachableOf(world)).toEqual([0, 0]);
  });

  test("that comes after its send was put back and claimed again changes nothing", async () => {
    const world = await setup({ leads: 1 });
    await world.settle(world.sends, putBack);
    const again = await world.claimQueued(world.id);
    expect(await world.settle(world.sends, sent)).toEqual([]);
    expect(await world.counters(world.id)).toMatchObject({ sending: 1 });
    await world.settle(again, sent);
    expect(await world.counters(world.id)).toMatchObject({ sent: 1 });
  });

  test("of one that comes back with a wait lets nothing be claimed before that", async () => {
    const world = await setup({ leads: 1 });
    await world.settle(world.sends, { result: "putBack", reason: SendReason.rateLimited, retryAfterMs: 30_000 });
    expect(await world.claimQueued(world.id)).toEqual([]);
    await world.sql`UPDATE send SET due_at = due_at - interval '30 s' WHERE source_id = ${world.sends[0]!.sourceId}`;
    expect(await world.claimQueued(world.id)).toHaveLength(1);
  });

  test("of one that comes back after Cancel drops it", async () => {
    const world = await setup();
    await cancelBroadcast(world.sql, world.accountId, world.id);
    await world.settle(world.sends, putBack);
    expect(await world.counters(world.id)).toMatchObject({ dropped: 2, queued: 0, sending: 0 });
    expect((await world.rows(world.id))[0]).toMatchObject({ state: SendState.dropped, reason: SendReason.cancelled });
    expect(await world.used()).toBe(0);
  });

  test("of one that comes back after Cancel and another Start joins the open run", async () => {
    const world = await setup();
    await cancelBroadcast(world.sql, world.accountId, world.id);
    await world.addLeads(1);
    expect(await startBroadcast(world.sql, world.accountId, world.id)).toBe(1);
    await world.settle(world.sends, putBack);
    expect((await world.rows(world.id)).map((row) => row.run)).toEqual([2, 2, 2]);
    expect(await world.claimQueued(world.id)).toHaveLength(3);
  });

  test("that fails to commit leaves no memory of a body that was accepted", async () => {
    const world = await setup({ leads: 3 });
    const acceptedRevisions = new Map<number, number>();
    const [first, ...others] = world.sends;
    const settle = (send: typeof first, result: SendResult) =>
      settleSends([{ ticket: ticketOf(send!), result }], { sql: world.sql, acceptedRevisions });
    // A message id that no bigint holds stands for whatever breaks a transaction off.
    await expect(settle(first, { result: "sent", messageId: 1e30 })).rejects.toThrow();
    await settle(first, sent);
    await settle(others[0], { result: "bodyFault", reason: SendReason.body });
    expect(await world.broadcast(world.id)).toMatchObject({ acceptedRevision: 1, faultLeads: 0 });
    expect((await world.rows(world.id))[1]).toMatchObject({ state: SendState.failed, reason: SendReason.body });
  });
});

describe("a lead's chat that cannot be reached", () => {
  test("leaves every audience of its bot, and no other", async () => {
    const world = await setup({ leads: 0 });
    const [here] = await world.addLeads(1);
    const other = await createWorld(world.sql, { bots: 1, leads: 1 });
    await world.sql`UPDATE lead SET chat_id = ${here!.chatId} WHERE id = ${other.leads[0]!.id}`;
    const [twin] = await world.sql<{ id: number }[]>`
      INSERT INTO campaign (account_id, bot_id, name, code) VALUES (${world.accountId}, ${world.botId}, 'Twin', 'T') RETURNING id`;
    await world.addLeads(1, { campaignIds: [twin!.id] });
    await world.sql`UPDATE lead SET chat_id = ${here!.chatId} WHERE campaign_id = ${twin!.id}`;
    await world.addLeads(1);
    await startBroadcast(world.sql, world.accountId, world.id);
    const sends = await world.claimQueued(world.id, 1);

    await world.settle(sends, blocked);

    expect(await unreachableOf(world)).toEqual([SendReason.blocked, SendReason.blocked, 0]);
    expect(await unreachableOf(other)).toEqual([0]);
  });

  test("stays in audiences where the refusal is not for good", async () => {
    const world = await setup();
    await world.settle(world.sends, cannotSend);
    expect(await unreachableOf(world)).toEqual([0, 0]);
  });

  test("that came back since is not taken away again by the same answer twice", async () => {
    const world = await setup();
    await world.settle(world.sends, blocked);
    await world.sql`UPDATE lead SET unreachable = 0`;
    await world.settle(world.sends, blocked);
    expect(await unreachableOf(world)).toEqual([0, 0]);
  });
});

describe("rescue", () => {
  test("leaves claims alone until their time is over", async () => {
    const world = await setup();
    await rescueSends(world.sql);
    expect(await world.counters(world.id)).toMatchObject({ sending: 2, unconfirmed: 0 });
  });

  test("makes abandoned claims unconfirmed, at most as many as it was told", async () => {
    const world = await setup({ leads: 5 });
    await abandonAll(world);
    expect(await rescueSends(world.sql, 2)).toBe(2);
    await expectConsistent(world.sql);
    expect(await rescueSends(world.sql)).toBe(3);
    expect(await rescueSends(world.sql)).toBe(0);
    expect(await world.counters(world.id)).toMatchObject({ sending: 0, unconfirmed: 5 });
    expect((await world.rows(world.id))[0]).toMatchObject({ reason: SendReason.ownerGone });
    expect(await world.used()).toBe(5);
  });

  test.each<[string, SendResult, object, number]>([
    ["sent", sent, { sent: 2 }, 2],
    ["failed", cannotSend, { failed: 2 }, 0],
    ["put back", putBack, { queued: 2 }, 0],
    ["unconfirmed", unknown, { unconfirmed: 2 }, 2],
  ])("gives way to late proof of %s, in counters and quota too", async (_, result, counters, used) => {
    const world = await setup();
    await abandonAll(world);
    await rescueSends(world.sql);
    await world.settle(world.sends, result);
    expect(await world.counters(world.id)).toMatchObject({ enqueued: 2, sending: 0, unconfirmed: 0, ...counters });
    expect(await world.used()).toBe(used);
  });

  test("of a send that comes back late after its broadcast was done drops it", async () => {
    const world = await setup({ leads: 1 });
    await abandonAll(world);
    await rescueSends(world.sql);
    await world.sql`UPDATE broadcast SET state = 2 WHERE id = ${world.id}`;
    await world.settle(world.sends, putBack);
    expect(await world.counters(world.id)).toMatchObject({ dropped: 1, queued: 0 });
  });

  test("and a settle of the same rows at the same time agree, whichever is first", async () => {
    const world = await setup({ leads: 60 });
    await abandonAll(world);
    await Promise.all([
      ...Array.from({ length: 3 }, () => rescueSends(world.sql, 30)),
      ...Array.from({ length: 6 }, (_, i) => world.settle(world.sends.slice(i * 10, i * 10 + 10), sent)),
    ]);
    expect(await world.counters(world.id)).toMatchObject({ sending: 0, unconfirmed: 0, sent: 60 });
  });
});
