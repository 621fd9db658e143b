import { describe, expect, test } from "bun:test";
import { type ClaimedSend, keyOf } from "#services/core/ledger/claim.ts";
import { SendKind, SendReason, SHARD_COUNT } from "#services/core/ledger/send.ts";
import { Lane, type QueuedJob } from "#services/delivery/lane.ts";

const AHEAD_MS = 60;

function queued(leadId: number, kind: SendKind = SendKind.broadcast): QueuedJob {
  return { job: { kind, botId: 5, sourceId: 1, leadId, entry: 0 }, ack: () => {} };
}

function ready(leadId: number, chatId = leadId) {
  return { send: { leadId, chatId } as ClaimedSend, ack: () => {} };
}

function setup({ limit = 30, jobs = 100, chatIntervalMs = 1_000 } = {}) {
  const lane = new Lane(5, { limit, guardMs: 0, chatIntervalMs });
  for (let leadId = 1; leadId <= jobs; leadId++) lane.enqueue(queued(leadId));
  return lane;
}

function leadsOf(items: readonly QueuedJob[]): number[] {
  return items.map(({ job }) => job.leadId);
}

describe("Lane", () => {
  test("stands in its bot's shard", () => {
    expect(new Lane(SHARD_COUNT + 3, { limit: 1 }).shard).toBe(3);
  });

  test("hands out follow-ups first, and each kind in order", () => {
    const lane = setup({ jobs: 3 });
    lane.enqueue(queued(9, SendKind.followUp));
    lane.enqueue(queued(8, SendKind.followUp));
    expect(leadsOf(lane.take(3))).toEqual([9, 8, 1]);
    expect(leadsOf(lane.take(10))).toEqual([2, 3]);
    expect(lane.queuedCount).toBe(0);
  });

  test("keeps a job once while it waits, and takes it again afterwards", () => {
    const lane = setup({ jobs: 1 });
    expect(lane.enqueue(queued(1))).toBe(false);
    expect(lane.queuedCount).toBe(1);
    lane.take(1);
    expect(lane.enqueue(queued(1))).toBe(true);
  });

  test("stays in order and complete through any mixture of coming and going", () => {
    const lane = new Lane(5, { limit: 1 });
    const taken: number[] = [];
    let next = 0;
    for (let round = 0; round < 500; round++) {
      for (let i = 0; i < round % 7; i++) lane.enqueue(queued(next++));
      taken.push(...leadsOf(lane.take((round * 5) % 6)));
    }
    taken.push(...leadsOf(lane.takeAll()));
    expect(taken).toEqual(Array.from({ length: next }, (_, leadId) => leadId));
  });

  test("takes from thousands as cheaply as from a few", () => {
    const lane = setup({ jobs: 200_000 });
    const startedAt = performance.now();
    for (let i = 0; i < 100_000; i++) lane.take(2);
    expect(lane.queuedCount).toBe(0);
    // Some 60 ms; moving the rest at each step takes minutes.
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });

  test("claims only what its pace will write within the moment ahead", () => {
    const lane = setup();
    expect(lane.wants(0, AHEAD_MS)).toBe(2);
    lane.claiming = 1;
    expect(lane.wants(0, AHEAD_MS)).toBe(1);
    lane.claiming = 0;
    lane.admit(ready(1), 0);
    lane.admit(ready(2), 0);
    expect(lane.wants(0, AHEAD_MS)).toBe(0);
  });

  test("claims further ahead when claims take longer", () => {
    expect(setup().wants(0, 500)).toBe(12);
    expect(setup({ limit: 1_000, jobs: 1_000 }).wants(0, 100)).toBe(100);
  });

  test("claims nothing while its next place is far away", () => {
    const lane = setup({ limit: 1 });
    lane.pacer.record(0);
    expect(lane.wants(100, AHEAD_MS)).toBe(0);
    expect(lane.wants(950, AHEAD_MS)).toBe(1);
  });

  test("claims nothing that the wire has no room for, which follows latency", () => {
    const lane = setup({ limit: 100, jobs: 1_000 });
    for (let i = 0; i < 100; i++) lane.noteLatency(50);
    lane.inFlight = 12;
    expect(lane.wants(0, AHEAD_MS)).toBe(0);
    for (let i = 0; i < 100; i++) lane.noteLatency(150);
    expect(lane.wants(0, AHEAD_MS)).toBe(6);
    for (let i = 0; i < 100; i++) lane.noteLatency(1);
    lane.inFlight = 3;
    expect(lane.wants(0, AHEAD_MS)).toBe(1);
  });

  test("writes at its pace", () => {
    const lane = setup({ limit: 10 });
    for (const leadId of [1, 2]) lane.admit(ready(leadId), 0);
    expect(lane.takeReady(0)?.send.leadId).toBe(1);
    expect(lane.takeReady(0)).toBeUndefined();
    expect(lane.nextWriteAt(0)).toBe(100);
    expect(lane.takeReady(100)?.send.leadId).toBe(2);
    expect(lane.nextWriteAt(100)).toBe(Number.POSITIVE_INFINITY);
  });

  test("writes to other chats while one waits for its second, and claims for them", () => {
    const lane = setup({ limit: 100 });
    lane.admit(ready(1, 7), 0);
    lane.takeReady(0);
    lane.admit(ready(2, 7), 10);
    expect(lane.wants(10, AHEAD_MS)).toBe(6);
    lane.admit(ready(3, 8), 10);
    expect(lane.takeReady(10)?.send.leadId).toBe(3);
    expect(lane.nextWriteAt(20)).toBe(1_000);
    expect(lane.takeReady(999)).toBeUndefined();
    expect(lane.takeReady(1_000)?.send.leadId).toBe(2);
  });

  test("keeps one claimed send of a chat, and gives the others a later place each", () => {
    const lane = setup({ limit: 100 });
    expect(lane.admit(ready(1, 7), 0)).toBeUndefined();
    expect(lane.admit(ready(2, 7), 0)).toBe(1_000);
    expect(lane.admit(ready(3, 7), 0)).toBe(2_000);
    expect(lane.admit(ready(4, 8), 0)).toBeUndefined();
    expect(lane.readyCount).toBe(2);
  });

  test("neither claims nor writes while it is held, and says why", () => {
    const lane = setup();
    lane.admit(ready(1), 0);
    lane.hold(0, 500, SendReason.botRefused);
    lane.hold(0, 300, SendReason.rateLimited);
    expect([lane.wants(499, AHEAD_MS), lane.takeReady(499), lane.holdAt(499)]).toEqual([
      0,
      undefined,
      SendReason.botRefused,
    ]);
    expect(lane.holdAt(500)).toBeUndefined();
    expect(lane.takeReady(500)?.send.leadId).toBe(1);
  });

  test("is released from every hold but what is left of a 429's", () => {
    const lane = setup();
    lane.hold(0, 500, SendReason.botRefused);
    lane.release();
    expect(lane.holdAt(0)).toBeUndefined();
    lane.rateLimitedUntilMs = 300;
    lane.hold(0, 500, SendReason.connectionRefused);
    lane.release();
    expect([lane.holdAt(299), lane.holdAt(300)]).toEqual([SendReason.rateLimited, undefined]);
  });

  test("may be forgotten only when nothing is in it and nothing holds it", () => {
    const lane = setup({ jobs: 1 });
    expect(lane.isIdleAt(0)).toBe(false);
    lane.takeAll();
    expect(lane.isIdleAt(0)).toBe(true);
    lane.rateLimitedUntilMs = 10;
    expect(lane.isIdleAt(9)).toBe(false);
    lane.inFlight = 1;
    expect(lane.isIdleAt(10)).toBe(false);
  });

  test("does not take two sends of one lead for each other", () => {
    const other = { ...queued(1).job, sourceId: 2 };
    const lane = setup({ jobs: 1 });
    expect(lane.enqueue({ job: other, ack: () => {} })).toBe(true);
    expect(keyOf(other)).not.toBe(keyOf(queued(1).job));
  });
});
