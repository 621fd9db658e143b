import { describe, expect, test } from "bun:test";
import * as lifeCycle from "#services/broadcast/life-cycle.ts";
import { Relay } from "#services/broadcast/relay.ts";
import type { SendJob } from "#services/core/ledger/claim.ts";
import { SendKind } from "#services/core/ledger/send.ts";
import { systemClock } from "#services/platform/clock.ts";
import { eventually } from "#test/support/eventually.ts";
import { counting, leadsOf, useRelayWorlds } from "./relay-world.ts";

const setup = useRelayWorlds();

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
