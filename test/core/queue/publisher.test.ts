import { describe, expect, test } from "bun:test";
import type { SendJob } from "#services/core/ledger/claim.ts";
import { SendKind, shardOf } from "#services/core/ledger/send.ts";
import { connectQueue } from "#services/core/queue/connection.ts";
import { decodeJob } from "#services/core/queue/jobs.ts";
import { publishJobs } from "#services/core/queue/publisher.ts";
import { deleteStream, ensureStream } from "#services/core/queue/streams.ts";
import { STREAM, sendSubject } from "#services/core/queue/subjects.ts";
import { createTestNats } from "#test/support/nats.ts";

async function setup() {
  const nats = await createTestNats();
  const nc = await connectQueue({ url: nats.url, name: "test" });
  const jsm = await nc.jetstreamManager();
  await ensureStream(jsm, { replicas: 1 });
  return {
    nc,
    jsm,
    /** What the stream holds, in its order. */
    stored: async () => {
      const { state } = await jsm.streams.info(STREAM);
      const sequences = Array.from({ length: state.messages }, (_, i) => state.first_seq + i);
      const messages = await Promise.all(sequences.map((seq) => jsm.streams.getMessage(STREAM, { seq })));
      return messages.map(({ subject, data }) => ({ subject, job: decodeJob(data)! }));
    },
    [Symbol.asyncDispose]: async () => {
      await nc.close();
      await nats.stop();
    },
  };
}

/** One of each of these bots in turn, both kinds. */
function inTurns(botIds: number[], turns: number): SendJob[] {
  const kinds = [SendKind.broadcast, SendKind.followUp];
  return Array.from({ length: turns }, (_, i) =>
    botIds.flatMap((botId) => kinds.map((kind) => ({ kind, botId, sourceId: 1, leadId: i + 1, entry: 0 }))),
  ).flat();
}

describe("publishJobs", () => {
  test("stores each job once under its subject, those of one bot and kind in order", async () => {
    await using world = await setup();
    const jobs = inTurns([1, 2, 33], 30);
    expect(await publishJobs(world.nc, jobs)).toEqual({ published: expect.any(Array), failed: [] });
    const stored = await world.stored();
    expect(stored).toHaveLength(jobs.length);
    for (const { subject, job } of stored) expect(subject).toBe(sendSubject(shardOf(job.botId), job.kind));
    const ofLane = (of: SendJob[], { kind, botId }: SendJob) => of.filter((j) => j.kind === kind && j.botId === botId);
    for (const lane of jobs.slice(0, 6)) {
      const found = ofLane(
        stored.map(({ job }) => job),
        lane,
      );
      expect(found).toEqual(ofLane(jobs, lane));
    }
  });

  test("stores those of one subject behind one another, and lets bots of one subject keep their turns", async () => {
    await using world = await setup();
    await publishJobs(world.nc, inTurns([1, 2, 33], 30));
    const stored = await world.stored();
    const changes = stored.filter(({ subject }, i) => i > 0 && subject !== stored[i - 1]!.subject);
    expect(changes).toHaveLength(3);
    const shared = stored.filter(({ subject }) => subject === sendSubject(1, SendKind.broadcast));
    expect(shared.slice(0, 4).map(({ job }) => job.botId)).toEqual([1, 33, 1, 33]);
  });

  test("names every job that was not stored", async () => {
    await using world = await setup();
    await deleteStream(world.jsm);
    const jobs = inTurns([1, 2], 600);
    const { published, failed, error } = await publishJobs(world.nc, jobs);
    expect([published.length, failed.length]).toEqual([0, jobs.length]);
    expect(new Set(failed)).toEqual(new Set(jobs));
    expect(error).toBeDefined();
  });
});
