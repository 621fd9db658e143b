import { describe, expect, test } from "bun:test";
import { Relay } from "#services/broadcast/relay.ts";
import { ALL_BOTS, SendReason, SHARD_COUNT } from "#services/core/ledger/send.ts";
import { claimedOf } from "#test/support/world.ts";
import { allShards, counting, leadsOf, useRelayWorlds } from "./relay-world.ts";

const setup = useRelayWorlds();

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
