import { describe, expect, test } from "bun:test";
import { SendKind } from "#services/core/ledger/send.ts";
import type { LowLane } from "#services/core/queue/low-lanes.ts";
import { LowWatch } from "#services/delivery/low-watch.ts";
import { eventually } from "#test/support/eventually.ts";

function job(botId: number, kind: SendKind = SendKind.broadcast) {
  return { kind, botId, sourceId: 1, leadId: 1, entry: 0 };
}

function setup() {
  const told: LowLane[][] = [];
  const watch = new LowWatch((lanes) => told.push(lanes));
  return {
    told,
    enter: (count: number, of = job(1)) => Array.from({ length: count }, () => watch.enter(of)),
    leave: (count: number, of = job(1)) => Array.from({ length: count }, () => watch.leave(of)),
  };
}

describe("LowWatch", () => {
  test("tells when half of the most that a lane held is gone, and again at each half of what is left", async () => {
    const world = setup();
    world.enter(80);
    world.leave(39);
    world.leave(1);
    await eventually(() => world.told.length === 1);
    expect(world.told).toEqual([[{ kind: SendKind.broadcast, botId: 1 }]]);
    world.enter(40);
    world.leave(39);
    world.leave(1);
    await eventually(() => world.told.length === 2);
  });

  test("tells of lanes that get low together in one go, each once", async () => {
    const world = setup();
    for (const of of [job(1), job(2), job(1, SendKind.followUp)]) world.enter(40, of);
    for (const of of [job(1), job(2)]) world.leave(40, of);
    await eventually(() => world.told.length === 1);
    expect(world.told[0]).toEqual([
      { kind: SendKind.broadcast, botId: 1 },
      { kind: SendKind.broadcast, botId: 2 },
    ]);
  });

  test("says nothing of lanes with a handful, nor of what never came in", async () => {
    const world = setup();
    world.enter(7);
    world.leave(7);
    world.leave(3, job(9));
    world.enter(20, job(2));
    world.leave(20, job(2));
    await eventually(() => world.told.length === 1);
    expect(world.told).toEqual([[{ kind: SendKind.broadcast, botId: 2 }]]);
  });
});
