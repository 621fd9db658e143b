import { describe, expect, test } from "bun:test";
import { type Lane, lookAtOnce, planNextLook, RelayLanes } from "#services/broadcast/relay-lanes.ts";
import type { RunningBroadcast } from "#services/broadcast/relay-store.ts";
import { ALL_BOTS, SendKind, SHARD_COUNT } from "#services/core/ledger/send.ts";

const bot = { botId: 7, accountId: 1, messagesPerSecond: 30 };

function running(fields: Partial<RunningBroadcast> = {}): RunningBroadcast {
  const ids = { id: 5, accountId: 1, sourceId: 50, run: 1, epoch: 0, revision: 1, acceptedRevision: 0 };
  return { ...ids, faultRevision: 0, faultLeads: 0, sendable: true, room: 100, ...fields };
}

function setup() {
  const lanes = new RelayLanes();
  const botsByAccount = new Map([[1, [bot]]]);
  const update = (
    broadcasts: RunningBroadcast[],
    { held = [] as number[], dueBots = [] as (typeof bot)[], fence = 1 } = {},
  ) => {
    const ownerFences = Array(SHARD_COUNT).fill(fence);
    lanes.update({ running: broadcasts, botsByAccount, dueBots, held: new Set(held), ownerFences });
    return [...lanes.all()];
  };
  return { lanes, update };
}

/** How long until each next look, when looks find heads of `length` with so many new ones. */
function intervals(length: number, fresh: number[], hasMore = false): number[] {
  const [lane] = setup().update([running()]);
  lane!.hasMore = hasMore;
  return fresh.map((count) => {
    planNextLook(lane!, { length, fresh: count }, 1000);
    return lane!.nextAtMs - 1000;
  });
}

describe("RelayLanes", () => {
  test("keeps a lane while its era lasts, and begins another after a Pause and Resume, a new run or a new body", () => {
    const { update } = setup();
    let [lane] = update([running()]);
    lane!.marks.mark(1, 0);
    expect(update([running({ acceptedRevision: 1, room: 3 })])).toEqual([lane!]);
    for (const change of [{ epoch: 1 }, { run: 2 }, { revision: 2 }]) {
      const [next] = update([running(change)]);
      expect(next).not.toBe(lane);
      expect(next!.marks.size).toBe(0);
      lane = next;
    }
  });

  test("begins another when a replica takes the bot over", () => {
    const { update } = setup();
    const before = update([running()], { dueBots: [bot] });
    const after = update([running()], { dueBots: [bot], fence: 2 });
    expect(after).toHaveLength(2);
    for (const [i, lane] of after.entries()) expect(lane).not.toBe(before[i]!);
  });

  test("has none for what may not send, is held, or has no bot here", () => {
    const { update } = setup();
    expect(update([running({ sendable: false })])).toEqual([]);
    expect(update([running({ room: 0 })])).toEqual([]);
    expect(update([running({ accountId: 2 })])).toEqual([]);
    expect(update([running()], { held: [bot.botId], dueBots: [bot] })).toEqual([]);
    expect(update([running()], { held: [ALL_BOTS], dueBots: [bot] })).toEqual([]);
    expect(update([running()], { dueBots: [bot] })).toHaveLength(2);
  });

  test("finds a lane by any job of it, and a bot's lanes", () => {
    const { lanes, update } = setup();
    const [followUps, broadcast] = update([running()], { dueBots: [bot] }) as [Lane, Lane];
    expect(lanes.of({ kind: SendKind.followUp, botId: 7, sourceId: 99 })).toBe(followUps);
    expect(lanes.of({ kind: SendKind.broadcast, botId: 7, sourceId: 50 })).toBe(broadcast);
    expect(lanes.of({ kind: SendKind.broadcast, botId: 7, sourceId: 51 })).toBeUndefined();
    expect(lanes.ofBot(7)).toEqual([followUps, broadcast]);
    lanes.clear();
    expect([...lanes.all(), ...lanes.ofBot(7)]).toEqual([]);
  });

  test("shares a bot's window among the broadcasts that have something", () => {
    const { lanes, update } = setup();
    const all = update([running(), running({ id: 6, sourceId: 60 })], { dueBots: [bot] });
    expect(lanes.sharers(7)).toBe(1);
    for (const lane of all) lane.headLength = 5;
    expect(lanes.sharers(7)).toBe(2);
  });
});

describe("planNextLook", () => {
  test("comes when half is gone at the bot's pace, and within 2 s, or within 4 s where there is more behind", () => {
    expect(intervals(60, [60])).toEqual([1000]);
    expect(intervals(600, [600])).toEqual([2000]);
    expect(intervals(600, [600], true)).toEqual([4000]);
  });

  test("comes later, within 2 s, while less than that is gone each time, and as at first when more is", () => {
    expect(intervals(30, [30, 5, 5, 5, 12, 30])).toEqual([500, 1000, 2000, 2000, 2000, 500]);
  });

  test("comes after 250 ms to a lane that has nothing, then less often, but each second", () => {
    expect(intervals(0, [0, 0, 0, 0])).toEqual([250, 500, 1000, 1000]);
  });

  test("comes soon again to a lane that something came back to", () => {
    const [lane] = setup().update([running()]) as [Lane];
    for (let i = 0; i < 4; i++) planNextLook(lane, { length: 0, fresh: 0 }, 1000);
    lookAtOnce(lane);
    expect(lane.nextAtMs).toBe(0);
    planNextLook(lane, { length: 0, fresh: 0 }, 1000);
    expect(lane.nextAtMs).toBe(1250);
  });
});
