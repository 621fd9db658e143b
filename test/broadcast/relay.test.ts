import { describe, expect, test } from "bun:test";
import * as lifeCycle from "#services/broadcast/life-cycle.ts";
import type { Relay } from "#services/broadcast/relay.ts";
import type { SendJob } from "#services/core/ledger/claim.ts";
import { SendKind, SendReason, SHARD_COUNT, shardOf } from "#services/core/ledger/send.ts";
import { claimedOf } from "#test/support/world.ts";
import { leadsOf, useRelayWorlds } from "./relay-world.ts";

const setup = useRelayWorlds();

describe("the relay", () => {
  test("gives each bot a smaller window where the stream could not hold all of them", async () => {
    const world = await setup({ bots: 4, leads: 400, relay: { streamMessages: 100 } });
    await world.addRunning();
    const byBot = Map.groupBy(await world.round(), (job) => job.botId);
    expect([...byBot.values()].map((jobs) => jobs.length)).toEqual([25, 25, 25, 25]);
  });

  test("publishes the head of what is queued, at most the bot's window", async () => {
    const world = await setup();
    const id = await world.addRunning();
    const { sourceId } = await world.broadcast(id);
    const jobs = await world.round();
    expect(leadsOf(jobs)).toEqual(world.leads.slice(0, 60).map((lead) => lead.id));
    expect(jobs[0]).toEqual({
      kind: SendKind.broadcast,
      botId: world.botId,
      sourceId,
      leadId: world.leads[0]!.id,
      entry: 0,
    });
  });

  test("publishes the window again when another delivery replica takes the bot over", async () => {
    const world = await setup();
    await world.addRunning();
    const first = await world.round();
    expect(await world.round(5_000)).toEqual([]);
    await world.sql`UPDATE shard_lease SET fence = fence + 1 WHERE role = 2 AND shard = ${shardOf(world.botId)}`;
    expect(await world.round(100)).toEqual(first);
    expect(await world.round(5_000)).toEqual([]);
  });

  test.each([
    [30, 10, 2000, 300],
    [1, 10, 2000, 30],
    [1000, 10, 2000, 2000],
    [1000, 10, 500, 500],
  ])(
    "keeps %d a second times %d s, at least 30 and at most %d, as the window: %d",
    async (pace, seconds, max, window) => {
      const relay = { windowSeconds: seconds, maxWindow: max };
      const world = await setup({ leads: 2100, messagesPerSecond: pace, relay });
      await world.addRunning();
      expect(await world.round()).toHaveLength(window);
    },
  );

  test("fills the window up with what was claimed, when half of it should be gone", async () => {
    const world = await setup();
    const id = await world.addRunning();
    await world.round();
    await world.claimQueued(id, 20);
    expect(await world.round(900)).toEqual([]);
    expect(leadsOf(await world.round(100))).toEqual(world.leads.slice(60, 80).map((lead) => lead.id));
  });

  test("does not publish again before 15 s, and does then", async () => {
    const world = await setup();
    await world.addRunning();
    const first = await world.round();
    for (let i = 0; i < 7; i++) expect(await world.round(2000)).toEqual([]);
    expect(await world.round(999)).toEqual([]);
    expect(await world.round(2000)).toEqual(first);
  });

  test("publishes again at once what was acked unsent", async () => {
    const world = await setup();
    await world.addRunning();
    const first = await world.round();
    const unsent = first.slice(5, 8);
    world.relay.unmark(unsent);
    expect(await world.round(100)).toEqual(unsent);
  });

  test("and what was acked unsent while its batch was still being published", async () => {
    const unmarked: SendJob[] = [];
    const hints: { relay?: Relay } = {};
    const world = await setup({
      leads: 10,
      relay: {
        publish: async (jobs) => {
          if (unmarked.length === 0) hints.relay!.unmark(jobs.slice(0, 2));
          unmarked.push(...jobs);
          return { published: jobs, failed: [] };
        },
      },
    });
    hints.relay = world.relay;
    await world.addRunning();
    await world.round();
    await world.round(100);
    expect(leadsOf(unmarked.slice(10))).toEqual(world.leads.slice(0, 2).map((lead) => lead.id));
  });

  test("is not shaken by hints about what it never published", async () => {
    const world = await setup();
    world.relay.unmark([{ kind: 1, sourceId: 888, botId: 888, leadId: 888, entry: 0 }]);
    expect(await world.round()).toEqual([]);
  });

  test("publishes again after a moment what could not be published", async () => {
    const batches: number[][] = [];
    const world = await setup({
      leads: 3,
      relay: {
        publish: async (jobs) => {
          batches.push(leadsOf(jobs));
          return batches.length === 1
            ? { published: jobs.slice(0, 1), failed: jobs.slice(1) }
            : { published: jobs, failed: [] };
        },
      },
    });
    await world.addRunning();
    for (const afterMs of [0, 200, 50, 2000]) await world.round(afterMs);
    const [one, two, three] = world.leads.map((lead) => lead.id) as [number, number, number];
    expect(batches).toEqual([
      [one, two, three],
      [two, three],
    ]);
  });

  test("publishes anew when a broadcast is resumed, and nothing while it is paused", async () => {
    const world = await setup({ leads: 5 });
    const id = await world.addRunning();
    const first = await world.round();
    await lifeCycle.pauseBroadcast(world.sql, world.accountId, id);
    expect(await world.round(100)).toEqual([]);
    await lifeCycle.resumeBroadcast(world.sql, world.accountId, id);
    expect(await world.round(100)).toEqual(first);
  });

  test("takes notice of a Pause and Resume between two rounds", async () => {
    const world = await setup({ leads: 5 });
    const id = await world.addRunning();
    const first = await world.round();
    await lifeCycle.pauseBroadcast(world.sql, world.accountId, id);
    await lifeCycle.resumeBroadcast(world.sql, world.accountId, id);
    expect(await world.round(1)).toEqual(first);
  });

  test("publishes only the open run's", async () => {
    const world = await setup({ leads: 4 });
    const id = await world.addRunning();
    await lifeCycle.cancelBroadcast(world.sql, world.accountId, id);
    expect(await world.round()).toEqual([]);
    await world.sql`UPDATE lead SET opted_out = true WHERE id = ${world.leads[0]!.id}`;
    await lifeCycle.startBroadcast(world.sql, world.accountId, id);
    expect(leadsOf(await world.round())).toEqual(world.leads.slice(1).map((lead) => lead.id));
  });

  test("lets broadcasts of one bot share its window and take turns", async () => {
    const world = await setup();
    const first = await world.broadcast(await world.addRunning());
    const second = await world.broadcast(await world.addRunning());
    const jobs = await world.round();
    expect(jobs).toHaveLength(60);
    expect(jobs.slice(0, 4).map((job) => job.sourceId)).toEqual([
      ...[first.sourceId, second.sourceId, first.sourceId, second.sourceId],
    ]);
  });

  test("does not publish a second time what it had published before another broadcast came", async () => {
    const world = await setup();
    const first = await world.addRunning();
    const before = await world.round();
    await world.addRunning();
    await world.round(1000);
    // The first lane has half of the window now. What it had published is claimed bit by bit.
    await world.claimQueued(first, 40);
    const { sourceId } = await world.broadcast(first);
    const later = (await world.round(1000)).filter((job) => job.sourceId === sourceId);
    expect(leadsOf(later).filter((lead) => leadsOf(before).includes(lead))).toEqual([]);
    expect(later).toHaveLength(10);
  });

  test("leaves a held bot alone, and begins anew when the hold is over", async () => {
    const world = await setup({ leads: 6, bots: 2 });
    await world.addRunning();
    const until = new Date(Date.now() + 60_000);
    await world.sql`INSERT INTO lane (bot_id, reason, hold_until) VALUES (${world.botId}, 1, ${until})`;
    const jobs = await world.round();
    expect(new Set(jobs.map((job) => job.botId))).toEqual(new Set([world.botIds[1]!]));
    world.time.offsetMs = 61_000;
    expect((await world.round(100)).map((job) => job.botId)).toEqual(Array(3).fill(world.botId));
  });

  test("publishes no more than the day has room for, and the rest after midnight", async () => {
    const world = await setup({ dailyCap: 10 });
    const id = await world.addRunning();
    expect(await world.round()).toHaveLength(10);
    await world.claimQueued(id);
    expect(await world.round(2000)).toEqual([]);
    await world.sql`UPDATE account SET paid_until = now() + interval '10 days' WHERE id = ${world.accountId}`;
    world.time.offsetMs = 24 * 3_600_000;
    expect(await world.round(2000)).toHaveLength(10);
  });

  test("publishes again as soon as something was given back", async () => {
    const world = await setup({ dailyCap: 10 });
    const id = await world.addRunning();
    await world.round();
    const sends = await world.claimQueued(id);
    await world.round(2000);
    await world.settle(sends.slice(0, 3), { result: "failed", reason: SendReason.cannotSend, leaves: false });
    expect(await world.round(1000)).toHaveLength(3);
  });

  test("publishes nothing for an account that has lapsed", async () => {
    const world = await setup();
    await world.addRunning();
    await world.sql`UPDATE account SET paid_until = now() WHERE id = ${world.accountId}`;
    expect(await world.round()).toEqual([]);
  });

  test("leaves out what is not due, and those whose body was refused until there is another", async () => {
    const world = await setup({ leads: 3 });
    const id = await world.addRunning();
    const sends = await world.claimQueued(id, 2);
    await world.settle(sends, (_, i) =>
      i === 0
        ? { result: "putBack", reason: SendReason.rateLimited, retryAfterMs: 5000 }
        : { result: "bodyFault", reason: SendReason.body },
    );
    expect(leadsOf(await world.round())).toEqual([world.leads[2]!.id]);
    world.time.offsetMs = 5001;
    expect(leadsOf(await world.round(2000))).toEqual([world.leads[0]!.id]);
    await world.sql`UPDATE broadcast SET revision = 2 WHERE id = ${id}`;
    expect(leadsOf(await world.round(2000))).toContain(world.leads[1]!.id);
  });

  test("publishes due follow-ups of all blocks, oldest first, before broadcasts", async () => {
    const world = await setup({ leads: 3 });
    await world.addRunning();
    const [one, other] = [await world.addBlock({ status: 0 }), await world.addBlock({ status: 1 })];
    await world.schedule(one, world.leads.slice(0, 1), -1000);
    await world.schedule(other, world.leads.slice(1, 2), -5000);
    await world.schedule(other, world.leads.slice(2, 3), 5000);
    const jobs = await world.round();
    expect(jobs.map((job) => [job.kind, job.sourceId]).slice(0, 2)).toEqual([
      [SendKind.followUp, other],
      [SendKind.followUp, one],
    ]);
    expect(jobs).toHaveLength(5);
    world.time.offsetMs = 5001;
    expect(leadsOf(await world.round(1000))).toEqual([world.leads[2]!.id]);
  });

  test("publishes a follow-up again that came back", async () => {
    const world = await setup({ leads: 1 });
    const jobs = await world.schedule(await world.addBlock(), world.leads);
    expect(await world.round()).toEqual(jobs);
    await world.settle(claimedOf(await world.claim(jobs)), { result: "putBack", reason: SendReason.connectionRefused });
    world.relay.unmark(jobs);
    world.time.offsetMs = 1000;
    expect(await world.round(1000)).toEqual(jobs);
  });

  test("publishes for its own shards only, and forgets everything when it has none", async () => {
    let shards: number[] = [];
    const world = await setup({ leads: 4, bots: 2, relay: { shards: () => shards } });
    await world.addRunning();
    expect(await world.round()).toEqual([]);
    shards = [world.botId % SHARD_COUNT];
    const first = await world.round();
    expect(first.map((job) => job.botId)).toEqual([world.botId, world.botId]);
    shards = [];
    await world.round();
    shards = [world.botId % SHARD_COUNT];
    expect(await world.round()).toEqual(first);
  });
});
