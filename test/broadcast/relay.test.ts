import { afterEach, describe, expect, test } from "bun:test";
import * as lifeCycle from "#services/broadcast/life-cycle.ts";
import { Relay, type RelayOptions } from "#services/broadcast/relay.ts";
import type { Sql } from "#services/database/client.ts";
import type { SendJob } from "#services/ledger/claim.ts";
import { ALL_BOTS, SendKind, SendReason, SHARD_COUNT, shardOf } from "#services/ledger/send.ts";
import { systemClock } from "#services/platform/clock.ts";
import { expectConsistent } from "#test/support/consistent.ts";
import { eventually } from "#test/support/eventually.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { claimedOf, createWorld, type WorldOptions } from "#test/support/world.ts";

const databases: TestDatabase[] = [];
afterEach(async () => {
  for (const database of databases.splice(0)) {
    await expectConsistent(database.sql);
    await database.drop();
  }
});

const allShards = Array.from({ length: SHARD_COUNT }, (_, shard) => shard);

/** A world of its own with a relay that publishes into a list, round by round, at a time that the test turns. */
async function setup({ relay: relayOptions, ...options }: WorldOptions & { relay?: Partial<RelayOptions> } = {}) {
  const database = await createTestDatabase();
  databases.push(database);
  const { sql } = database;
  const world = await createWorld(sql, { leads: 100, ...options });
  const time = { ms: 1000, offsetMs: 0 };
  const published: SendJob[] = [];
  const errors: unknown[] = [];
  const used: RelayOptions = {
    sql,
    clock: { now: () => time.ms, monotonicMs: () => time.ms, sleep: () => Promise.resolve() },
    databaseClock: { offsetMs: () => time.offsetMs },
    shards: () => allShards,
    publish: async (jobs) => {
      published.push(...jobs);
      return { published: jobs, failed: [] };
    },
    onError: (error) => errors.push(error),
    // 2 s of 30 a second: 60 at most.
    windowSeconds: 2,
    ...relayOptions,
  };
  const relay = new Relay(used);
  return {
    ...world,
    ...{ relay, relayOptions: used, published, time, errors },
    /** A broadcast that runs. */
    addRunning: async (fields?: Parameters<typeof world.addBroadcast>[0]) => {
      const id = await world.addBroadcast(fields);
      await lifeCycle.startBroadcast(sql, world.accountId, id);
      return id;
    },
    /** Lets time pass and makes one round. @returns what it published. */
    round: async (afterMs = 0): Promise<SendJob[]> => {
      time.ms += afterMs;
      published.length = 0;
      await relay.tick();
      return [...published];
    },
  };
}

const leadsOf = (jobs: SendJob[]) => jobs.map((job) => job.leadId);

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
    const { sql } = databases.at(-1)!;
    await sql`UPDATE shard_lease SET fence = fence + 1 WHERE role = 2 AND shard = ${shardOf(world.botId)}`;
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

/** Counts the statements that have `text` in them. */
function counting(sql: Sql, text: string): { sql: Sql; count: () => number } {
  let count = 0;
  const apply = (target: Sql, self: unknown, parts: [readonly string[], ...unknown[]]) => {
    if (parts[0].join("").includes(text)) count++;
    return Reflect.apply(target, self, parts);
  };
  return { sql: new Proxy(sql, { apply }) as Sql, count: () => count };
}

describe("what the relay knows of bots", () => {
  test("is read no more than once a second while nothing changes", async () => {
    const world = await setup();
    const counted = counting(world.sql, "account_id = ANY");
    const relay = new Relay({ ...world.relayOptions, sql: counted.sql });
    await relay.tick();
    expect(counted.count()).toBe(0);
    await world.addRunning();
    for (let i = 0; i < 9; i++) {
      await relay.tick();
      world.time.ms += 100;
    }
    expect(counted.count()).toBe(1);
    world.time.ms += 100;
    await relay.tick();
    expect(counted.count()).toBe(2);
  });

  test("holds a bot that came just before a Start, while another broadcast runs", async () => {
    const world = await setup({ leads: 4 });
    await world.addRunning();
    await world.round();
    const [bot] = await world.sql<{ id: number }[]>`
      INSERT INTO bot (account_id, username, token_sealed, webhook_secret)
      VALUES (${world.accountId}, 'late', 'sealed', 'secret') RETURNING id`;
    const [campaign] = await world.sql<{ id: number }[]>`
      INSERT INTO campaign (account_id, bot_id, name, code) VALUES (${world.accountId}, ${bot!.id}, 'late', 'late') RETURNING id`;
    const added = await world.addLeads(3, { campaignIds: [campaign!.id] });
    await world.addRunning({ scope: [campaign!.id] });
    expect(leadsOf(await world.round(100))).toEqual(added.map((lead) => lead.id));
  });

  test("holds those of a shard that was gained a moment ago", async () => {
    const shards: number[] = [];
    const world = await setup({ leads: 4, bots: 2, relay: { shards: () => [...shards] } });
    await world.addRunning();
    shards.push(world.botIds[0]! % SHARD_COUNT);
    expect(new Set((await world.round()).map((job) => job.botId))).toEqual(new Set([world.botIds[0]!]));
    shards.push(world.botIds[1]! % SHARD_COUNT);
    expect(new Set((await world.round(100)).map((job) => job.botId))).toEqual(new Set([world.botIds[1]!]));
  });

  test("and no longer those of a shard that was lost", async () => {
    let shards = allShards;
    const world = await setup({ leads: 4, bots: 2, relay: { shards: () => shards } });
    await world.addRunning();
    await world.round();
    shards = allShards.filter((shard) => shard !== world.botId % SHARD_COUNT);
    const again = await world.round(16_000);
    expect(new Set(again.map((job) => job.botId))).toEqual(new Set([world.botIds[1]!]));
  });

  test("follows a pace that is changed within a second", async () => {
    const world = await setup();
    await world.addRunning();
    expect(await world.round()).toHaveLength(60);
    await world.sql`UPDATE bot SET messages_per_second = 45`;
    expect(await world.round(1000)).toHaveLength(30);
  });

  test("lets a bot go on in the round after its hold was lifted, and all bots after theirs", async () => {
    const world = await setup({ leads: 4, bots: 2 });
    await world.addRunning();
    for (const held of [world.botId, ALL_BOTS]) {
      await world.sql`INSERT INTO lane (bot_id, reason) VALUES (${held}, 4)`;
      const during = await world.round(100);
      expect(during.filter((job) => held === ALL_BOTS || job.botId === held)).toEqual([]);
      await world.sql`DELETE FROM lane`;
      expect(leadsOf(await world.round(100)).length).toBe(held === ALL_BOTS ? 4 : 2);
    }
  });

  test("finds follow-ups of a bot and a block that are new, 250 ms after they fall due at most", async () => {
    const world = await setup({ leads: 2 });
    expect(await world.round()).toEqual([]);
    const jobs = await world.schedule(await world.addBlock(), world.leads, 10_000);
    expect(await world.round(250)).toEqual([]);
    world.time.offsetMs = 10_001;
    expect(await world.round(250)).toHaveLength(jobs.length);
  });

  test("has a follow-up again at once that came back after its lane was forgotten", async () => {
    const world = await setup({ leads: 1 });
    const jobs = await world.schedule(await world.addBlock(), world.leads);
    await world.round();
    const sends = claimedOf(await world.claim(jobs));
    expect(await world.round(500)).toEqual([]);
    await world.settle(sends, { result: "putBack", reason: SendReason.connectionRefused });
    world.relay.unmark(jobs);
    expect(await world.round(1)).toEqual(jobs);
  });
});

describe("a hint that a lane is low", () => {
  test("fills it up at once", async () => {
    const world = await setup();
    const id = await world.addRunning();
    await world.round();
    await world.claimQueued(id, 35);
    world.relay.low([{ kind: SendKind.broadcast, botId: world.botId }]);
    world.published.length = 0;
    await world.relay.refillLow();
    expect(leadsOf(world.published)).toEqual(world.leads.slice(60, 95).map((lead) => lead.id));
  });

  test("changes nothing for what is all published, for another kind, or for a bot that is not ours", async () => {
    const world = await setup({ leads: 50 });
    const counted = counting(world.sql, "AS leads");
    const relay = new Relay({ ...world.relayOptions, sql: counted.sql });
    await world.addRunning();
    await relay.tick();
    const lanes = [
      { kind: SendKind.broadcast, botId: world.botId },
      { kind: SendKind.followUp, botId: world.botId },
      { kind: SendKind.broadcast, botId: 888 },
    ];
    relay.low(lanes);
    await relay.refillLow();
    expect([counted.count(), world.errors]).toEqual([1, []]);
  });

  test("publishes nothing for a lane that has ended or begun anew since", async () => {
    const world = await setup();
    const id = await world.addRunning();
    await world.round();
    world.relay.low([{ kind: SendKind.broadcast, botId: world.botId }]);
    await lifeCycle.pauseBroadcast(world.sql, world.accountId, id);
    await world.round(100);
    world.published.length = 0;
    await world.relay.refillLow();
    expect(world.published).toEqual([]);
  });

  test("wakes the loop between two ticks", async () => {
    const world = await setup();
    const id = await world.addRunning();
    const stop = new AbortController();
    const published: SendJob[] = [];
    const relay = new Relay({
      ...world.relayOptions,
      clock: systemClock,
      tickMs: 3_600_000,
      publish: async (jobs) => {
        published.push(...jobs);
        return { published: jobs, failed: [] };
      },
    });
    const loop = relay.run(stop.signal);
    await eventually(() => published.length === 60);
    await world.claimQueued(id, 30);
    relay.low([{ kind: SendKind.broadcast, botId: world.botId }]);
    await eventually(() => published.length === 90);
    stop.abort();
    await loop;
    expect(world.errors).toEqual([]);
  });
});

describe("its review", () => {
  test("finishes a broadcast with nothing queued or on the wire, and no other", async () => {
    const world = await setup({ leads: 2 });
    const id = await world.addRunning();
    const sends = await world.claimQueued(id);
    await world.settle(sends.slice(0, 1), { result: "sent", messageId: 1 });
    await world.round(1000);
    expect((await world.broadcast(id)).state).toBe(1);
    await world.settle(sends.slice(1), { result: "sent", messageId: 1 });
    await world.round(1000);
    expect((await world.broadcast(id)).state).toBe(2);
  });

  test("pauses one whose body is refused", async () => {
    const world = await setup({ leads: 5 });
    const id = await world.addRunning();
    await world.settle(await world.claimQueued(id), { result: "bodyFault", reason: SendReason.body });
    await world.round(1000);
    expect(await world.broadcast(id)).toMatchObject({ state: 4, pauseReason: expect.stringContaining("5 leads") });
  });

  test("of one that fails does not keep the others from theirs", async () => {
    const world = await setup({ leads: 2 });
    const ids = [await world.addRunning(), await world.addRunning()];
    for (const id of ids) await world.settle(await world.claimQueued(id), { result: "sent", messageId: 1 });
    await world.sql.unsafe(`
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;
      CREATE TRIGGER refuse BEFORE UPDATE ON broadcast FOR EACH ROW WHEN (OLD.id = ${ids[0]}) EXECUTE FUNCTION refuse()`);
    await world.round(1000);
    expect(world.errors).toHaveLength(1);
    expect((await world.broadcast(ids[1]!)).state).toBe(2);
  });
});
