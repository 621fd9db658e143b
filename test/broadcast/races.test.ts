/** Transactions that meet on purpose: one is held open at a named point while the other comes. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { updateBroadcast } from "#services/broadcast/edit.ts";
import * as lifeCycle from "#services/broadcast/life-cycle.ts";
import type { TransactionSql } from "#services/core/database/client.ts";
import { passGates } from "#services/core/ledger/gate.ts";
import { rescueSends } from "#services/core/ledger/rescue.ts";
import { SendReason, SendState, shardOf } from "#services/core/ledger/send.ts";
import { type SendResult, settleSends, ticketOf } from "#services/core/ledger/settle.ts";
import { emptyBody } from "#services/core/message/body.ts";
import { expectConsistent } from "#test/support/consistent.ts";
import { holdCommits, holdLock } from "#test/support/held-transaction.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { untilBlocked } from "#test/support/until-blocked.ts";
import { claimedOf, createWorld, inWords, type WorldOptions } from "#test/support/world.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(() => expectConsistent(database.sql));
afterAll(() => database.drop());

const sent: SendResult = { result: "sent", messageId: 1 };
const failed: SendResult = { result: "failed", reason: SendReason.cannotSend, leaves: false };
const putBack: SendResult = { result: "putBack", reason: SendReason.connectionRefused };

/** A running broadcast. */
async function setup(options: WorldOptions = {}) {
  const world = await createWorld(database.sql, { leads: 4, ...options });
  const { sql, accountId } = world;
  const id = await world.addBroadcast();
  await lifeCycle.startBroadcast(sql, accountId, id);
  const { sourceId } = await world.broadcast(id);
  const act = (action: (s: typeof sql, account: number, broadcast: number) => Promise<unknown>) =>
    action(sql, accountId, id);
  return {
    ...world,
    ...{ id, sourceId, queue: await world.jobs(id) },
    start: () => lifeCycle.startBroadcast(sql, accountId, id),
    pause: () => act(lifeCycle.pauseBroadcast),
    cancel: () => act(lifeCycle.cancelBroadcast),
    reset: () => act(lifeCycle.resetBroadcast),
    remove: () => act(lifeCycle.deleteBroadcast),
    review: () => lifeCycle.reviewBroadcast(sql, accountId, id),
    state: async () => (await world.broadcast(id)).state,
  };
}

type Running = Awaited<ReturnType<typeof setup>>;

/** Where a claim can stand: each of its locks in turn, held by somebody else. */
const pointsOfClaim: [string, (world: Running, tx: TransactionSql) => Promise<unknown>][] = [
  ["its lease", ({ botId }, tx) => tx`SELECT FROM shard_lease WHERE role = 2 AND shard = ${shardOf(botId)} FOR UPDATE`],
  ["the quota day", ({ accountId }, tx) => tx`SELECT FROM quota_day WHERE account_id = ${accountId} FOR UPDATE`],
  ["its sends", ({ sourceId }, tx) => tx`SELECT FROM send WHERE source_id = ${sourceId} AND state = 0 FOR UPDATE`],
  ["its counters", ({ sourceId }, tx) => tx`SELECT FROM send_counter WHERE source_id = ${sourceId} FOR UPDATE`],
];

describe("Pause", () => {
  test.each(pointsOfClaim)("waits for a claim that stands at %s; then nothing more is claimed", async (point, take) => {
    const world = await setup({ dailyCap: 100 });
    // One is claimed and put back, so that the rows of quota and counters are there to be held.
    await world.settle(await world.claimQueued(world.id, 1), putBack);
    const release = await holdLock(world.sql, (tx) => take(world, tx));
    const claim = world.claim(world.queue.slice(0, 2));
    await untilBlocked(world.sql, 1);
    let paused = false;
    const pause = world.pause().then(() => {
      paused = true;
    });
    await untilBlocked(world.sql, 2);
    expect(paused).toBe(false);
    const refused = world.claim(world.queue.slice(2));
    // The gate holds nobody up; only who holds the lease's row does, where that is the point.
    if (point !== "its lease") expect(inWords(await refused)).toEqual(["wait gate", "wait gate"]);
    await release();
    expect(inWords(await refused)).toEqual(["wait gate", "wait gate"]);
    expect(inWords(await claim)).toEqual(["claimed", "claimed"]);
    await pause;
    expect(inWords(await world.claim(world.queue))).toEqual(Array(4).fill("wait paused"));
    expect(await world.counters(world.id)).toMatchObject({ sending: 2, queued: 2 });
  });

  test("waits for a claim that is about to commit, and counts what it took", async () => {
    const world = await setup();
    const held = holdCommits(world.sql);
    const claim = world.claim(world.queue.slice(0, 3), { sql: held.sql });
    await held.reached;
    const pause = world.pause();
    await untilBlocked(world.sql);
    held.release();
    await Promise.all([claim, pause]);
    expect(await world.counters(world.id)).toMatchObject({ sending: 3, queued: 1 });
    expect(await world.state()).toBe(4);
  });

  test("is never starved by claimers without a gap between them", async () => {
    const world = await setup({ leads: 1000 });
    const jobs = world.queue;
    let claimed = 0;
    let pausing = false;
    let claimsWhilePausing = 0;
    const claimer = async (offset: number) => {
      for (let from = offset; from < jobs.length; from += 3) {
        const [answer] = await world.claim(jobs.slice(from, from + 1));
        if (answer!.outcome !== "claimed") return;
        claimed++;
        if (pausing) claimsWhilePausing++;
      }
    };
    const claimers = [0, 1, 2].map(claimer);
    while (claimed < 30) await Bun.sleep(1);
    pausing = true;
    await world.pause();
    pausing = false;
    const taken = (await world.counters(world.id)).sending;
    await Promise.all(claimers);
    expect((await world.counters(world.id)).sending).toBe(taken);
    // Those under way when it came, and those between its call and its place at the gate.
    expect(claimsWhilePausing).toBeLessThan(30);
    expect(taken).toBeLessThan(jobs.length);
  });
});

describe("a Start that waits for an edit", () => {
  test("takes the edit whole: its scope with its filters and its text", async () => {
    const world = await createWorld(database.sql, { campaigns: 2, leads: 4 });
    const { sql, accountId, campaignIds } = world;
    const id = await world.addBroadcast({ scope: [campaignIds[0]!] });
    const held = holdCommits(sql);
    const window = { createdFrom: null, createdTo: null, statusFrom: null, statusTo: null };
    const audience = { statuses: 31, campaignIds: [campaignIds[1]!], ...window };
    const edit = { name: "", audience, body: { ...emptyBody, text: "For the second campaign" } };
    const editing = updateBroadcast(held.sql, accountId, id, edit, async () => {});
    await held.reached;
    const starting = lifeCycle.startBroadcast(sql, accountId, id);
    await untilBlocked(sql);
    held.release();
    await Promise.all([editing, starting]);
    const taken = (await world.rows(id)).map((row) => row.leadId);
    expect(taken).toEqual(world.leads.filter((lead) => lead.campaignId === campaignIds[1]).map((lead) => lead.id));
  });
});

describe("the last two settles", () => {
  test("of two shards do not meet, and done is written once both are in", async () => {
    const world = await setup({ bots: 2, leads: 2 });
    const [one, other] = await world.claimQueued(world.id);
    const held = holdCommits(world.sql);
    const first = settleSends([{ ticket: ticketOf(one!), result: sent }], {
      sql: held.sql,
      acceptedRevisions: new Map([[world.sourceId, 1]]),
    });
    await held.reached;
    await settleSends([{ ticket: ticketOf(other!), result: sent }], {
      sql: world.sql,
      acceptedRevisions: new Map([[world.sourceId, 1]]),
    });
    expect(await world.review()).toBe(1);
    held.release();
    await first;
    const { epoch } = await epochOf(world);
    expect(await Promise.all([world.review(), world.review(), world.review()])).toEqual([2, 2, 2]);
    expect((await epochOf(world)).epoch).toBe(epoch + 1);
  });

  test("and a review that waits for one of them: it looks after it has waited", async () => {
    const world = await setup({ leads: 1 });
    const [send] = await world.claimQueued(world.id);
    const held = holdCommits(world.sql);
    const settling = settleSends([{ ticket: ticketOf(send!), result: putBack }], { sql: held.sql });
    await held.reached;
    const review = world.review();
    await untilBlocked(world.sql);
    held.release();
    await settling;
    expect(await review).toBe(1);
    expect(await world.counters(world.id)).toMatchObject({ queued: 1 });
  });

  async function epochOf(world: Running): Promise<{ epoch: number }> {
    const [row] = await world.sql<{ epoch: number }[]>`SELECT epoch FROM broadcast WHERE id = ${world.id}`;
    return row!;
  }
});

describe("the last settle and a top-up Start", () => {
  test("that comes before it: what was on the wire stays out of the new run", async () => {
    const world = await setup({ leads: 1 });
    const [send] = await world.claimQueued(world.id);
    await world.cancel();
    await world.addLeads(1);
    const held = holdCommits(world.sql);
    const settling = settleSends([{ ticket: ticketOf(send!), result: failed }], { sql: held.sql });
    await held.reached;
    expect(await world.start()).toBe(1);
    held.release();
    await settling;
    expect(await world.counters(world.id)).toMatchObject({ enqueued: 2, queued: 1, failed: 1 });
    expect(await world.review()).toBe(1);
  });

  test("that waits for it: a send that comes back is dropped first and then taken", async () => {
    const world = await setup({ leads: 1 });
    const [send] = await world.claimQueued(world.id);
    await world.cancel();
    const held = holdCommits(world.sql);
    const settling = settleSends([{ ticket: ticketOf(send!), result: putBack }], { sql: held.sql });
    await held.reached;
    const starting = world.start();
    await untilBlocked(world.sql);
    held.release();
    await settling;
    expect(await starting).toBe(1);
    expect(await world.counters(world.id)).toMatchObject({ enqueued: 1, queued: 1, dropped: 0 });
  });

  test("that it waits for: a send that comes back joins the run that was opened meanwhile", async () => {
    const world = await setup({ leads: 1 });
    const [send] = await world.claimQueued(world.id);
    await world.cancel();
    await world.addLeads(1);
    const held = holdCommits(world.sql);
    const starting = lifeCycle.startBroadcast(held.sql, world.accountId, world.id);
    await held.reached;
    const settling = world.settle([send!], putBack);
    await untilBlocked(world.sql);
    held.release();
    expect(await starting).toBe(1);
    await settling;
    expect((await world.rows(world.id)).map((row) => row.run)).toEqual([2, 2]);
    expect(await world.counters(world.id)).toMatchObject({ enqueued: 2, queued: 2 });
  });
});

describe("a send that comes back and Cancel", () => {
  test("that waits for it: it was queued when the run closed", async () => {
    const world = await setup({ leads: 2 });
    const [send] = await world.claimQueued(world.id, 1);
    const held = holdCommits(world.sql);
    const settling = settleSends([{ ticket: ticketOf(send!), result: putBack }], { sql: held.sql });
    await held.reached;
    const cancelling = world.cancel();
    await untilBlocked(world.sql);
    held.release();
    await Promise.all([settling, cancelling]);
    expect(await world.counters(world.id)).toMatchObject({ queued: 0, dropped: 2, sending: 0 });
  });

  test("that it waits for: it is dropped", async () => {
    const world = await setup({ leads: 2 });
    const [send] = await world.claimQueued(world.id, 1);
    const held = holdCommits(world.sql);
    const cancelling = lifeCycle.cancelBroadcast(held.sql, world.accountId, world.id);
    await held.reached;
    const settling = world.settle([send!], putBack);
    await untilBlocked(world.sql);
    held.release();
    await Promise.all([settling, cancelling]);
    expect(await world.counters(world.id)).toMatchObject({ queued: 0, dropped: 2, sending: 0 });
    expect((await world.rows(world.id))[0]).toMatchObject({ state: SendState.dropped, reason: SendReason.cancelled });
  });
});

describe("an ended generation with sends on the wire", () => {
  test.each(["reset", "delete"] as const)(
    "by %s is settled late in its own rows and quota day only",
    async (action) => {
      const world = await setup({ dailyCap: 100 });
      const sends = await world.claimQueued(world.id, 3);
      await world.cancel();
      await (action === "reset" ? world.reset() : world.remove());
      const broadcast = await world.sql`SELECT * FROM broadcast WHERE id = ${world.id}`;
      expect(await world.used()).toBe(3);

      await world.settle(sends, (_, i) => [sent, failed, putBack][i]!);

      expect(await world.sql`SELECT * FROM broadcast WHERE id = ${world.id}`).toEqual(broadcast);
      const rows = await world.sql<{ state: number }[]>`
      SELECT state FROM send WHERE source_id = ${world.sourceId} ORDER BY lead_id`;
      expect(rows.map((row) => row.state)).toEqual([
        SendState.sent,
        SendState.failed,
        SendState.dropped,
        SendState.queued,
      ]);
      expect(await world.used()).toBe(1);
      const [retired] = await world.sql`SELECT source_id FROM retired_source WHERE source_id = ${world.sourceId}`;
      expect(retired).toBeDefined();
    },
  );

  test("whose rows are gone already takes a late settle without a word", async () => {
    const world = await setup();
    const sends = await world.claimQueued(world.id, 1);
    await world.cancel();
    await world.reset();
    await world.sql`UPDATE quota_day SET used = 0 WHERE account_id = ${world.accountId}`;
    await world.sql`DELETE FROM send WHERE source_id = ${world.sourceId}`;
    expect(await world.settle(sends, putBack)).toEqual([]);
  });

  test("does not wait for a claim of the new one, and two Resets make one generation", async () => {
    const world = await setup();
    await world.cancel();
    const outcomes = await Promise.allSettled([world.reset(), world.reset(), world.reset()]);
    expect(outcomes.filter((outcome) => outcome.status === "fulfilled")).toHaveLength(1);
    expect((await world.broadcast(world.id)).sourceId).toBeGreaterThan(world.sourceId);
    expect(await world.start()).toBe(4);
    expect(claimedOf(await world.claim(world.queue))).toEqual([]);
  });

  test("that is deleted while a Pause waits at its gate is nobody's any more", async () => {
    const world = await setup();
    await world.pause();
    const held = holdCommits(world.sql);
    const deleting = lifeCycle.deleteBroadcast(held.sql, world.accountId, world.id);
    await held.reached;
    const resuming = lifeCycle.resumeBroadcast(world.sql, world.accountId, world.id).catch(String);
    await untilBlocked(world.sql);
    held.release();
    await deleting;
    expect(await resuming).toContain("no such broadcast");
  });
});

describe("rescue against a late settle of the same row", () => {
  const abandon = (world: Running) => world.sql`
    UPDATE send SET rescue_at = now() - interval '1 s' WHERE source_id = ${world.sourceId} AND state = 1`;

  test("passes over a row that is being settled", async () => {
    const world = await setup({ leads: 1 });
    const [send] = await world.claimQueued(world.id);
    await abandon(world);
    const held = holdCommits(world.sql);
    const settling = settleSends([{ ticket: ticketOf(send!), result: sent }], { sql: held.sql });
    await held.reached;
    // Slow machines leave claims of other tests behind, which it may find: only this row counts.
    await rescueSends(world.sql);
    expect(await world.counters(world.id)).toMatchObject({ sending: 1, unconfirmed: 0 });
    held.release();
    await settling;
    expect(await world.counters(world.id)).toMatchObject({ sent: 1, unconfirmed: 0 });
  });

  test.each([
    ["sent", sent, { sent: 1 }, 1],
    ["failed", failed, { failed: 1 }, 0],
    ["put back", putBack, { queued: 1 }, 0],
  ] as const)("lets a settle that waited for it turn unconfirmed into %s", async (_, result, counters, used) => {
    const world = await setup({ leads: 1 });
    const sends = await world.claimQueued(world.id);
    await abandon(world);
    const held = holdCommits(world.sql);
    const rescuing = rescueSends(held.sql);
    await held.reached;
    const settling = world.settle(sends, result);
    await untilBlocked(world.sql);
    held.release();
    expect(await rescuing).toBeGreaterThanOrEqual(1);
    expect((await settling)[0]).toMatchObject({ was: SendState.unconfirmed });
    expect(await world.counters(world.id)).toMatchObject({ unconfirmed: 0, sending: 0, ...counters });
    expect(await world.used()).toBe(used);
  });
});

describe("two settles that each prove one body and bring back a send of the other", () => {
  test("do not stand in each other's way", async () => {
    const world = await setup({ leads: 2 });
    const second = await world.addBroadcast();
    await lifeCycle.startBroadcast(world.sql, world.accountId, second);
    const [a1, a2] = await world.claimQueued(world.id);
    const [b1, b2] = await world.claimQueued(second);
    const held = holdCommits(world.sql);
    const pair = (proof: typeof a1, back: typeof a1, sql = world.sql) =>
      settleSends(
        [
          { ticket: ticketOf(proof!), result: sent },
          { ticket: ticketOf(back!), result: putBack },
        ],
        { sql },
      );
    const first = pair(a1, b1, held.sql);
    await held.reached;
    const other = pair(b2, a2);
    await untilBlocked(world.sql);
    held.release();
    expect(await Promise.all([first, other])).toHaveLength(2);
    expect(await passesOf(world, second)).toBe(2);
  });

  /** Both gates are free again. */
  async function passesOf(world: Running, second: number): Promise<number> {
    const { sourceId } = await world.broadcast(second);
    return await world.sql.begin(async (tx) => (await passGates(tx, [world.sourceId, sourceId])).size);
  }
});

describe("Cancel, Pause, Reset and Delete", () => {
  test("of 20,000 leads write no send", async () => {
    const world = await setup({ leads: 20_000 });
    const sent20 = await world.claim(world.queue.slice(0, 20));
    expect(claimedOf(sent20)).toHaveLength(20);
    // The transaction that last wrote each row: any write would show.
    const stamp = async () => {
      const [row] = await world.sql<{ stamp: string }[]>`
        SELECT md5(string_agg(xmin::text || ctid::text, ',' ORDER BY lead_id)) AS stamp FROM send
        WHERE source_id = ${world.sourceId}`;
      return row!.stamp;
    };
    const before = await stamp();
    await world.pause();
    await world.cancel();
    expect(await world.counters(world.id)).toMatchObject({ enqueued: 20_000, dropped: 19_980, sending: 20, queued: 0 });
    await world.reset();
    await world.remove();
    expect(await stamp()).toBe(before);
  });
});
