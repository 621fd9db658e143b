import { describe, expect, test } from "bun:test";
import type { JetStreamManager, NatsConnection } from "nats";
import type { SendJob } from "#services/core/ledger/claim.ts";
import { SendKind } from "#services/core/ledger/send.ts";
import { connectQueue } from "#services/core/queue/connection.ts";
import { decodeLowLanes, LOW_LANES_SUBJECT } from "#services/core/queue/low-lanes.ts";
import { publishJobs } from "#services/core/queue/publisher.ts";
import { consumerConfig, deleteStream, ensureConsumer, ensureStream } from "#services/core/queue/streams.ts";
import { consumerName, STREAM, sendSubject } from "#services/core/queue/subjects.ts";
import { Intake, type IntakeOptions } from "#services/delivery/intake.ts";
import { systemClock } from "#services/platform/clock.ts";
import { eventually } from "../support/eventually.ts";
import { createTestNats } from "../support/nats.ts";

const SHARD = 5;
const stream = { replicas: 1 };

function job(leadId: number, kind: SendKind = SendKind.broadcast): SendJob {
  return { kind, botId: SHARD, sourceId: 1, leadId, entry: 0 };
}

/** A real nats-server, and an intake that has opened one shard. Jobs are acked when `ack` says so. */
async function setup({
  queuedCount = () => 0,
  open = true,
  offer = (_, ack) => ack(),
}: Partial<Pick<IntakeOptions, "queuedCount" | "offer">> & { open?: boolean } = {}) {
  const nats = await createTestNats();
  const nc: NatsConnection = await connectQueue({ url: nats.url, name: "test" });
  const jsm: JetStreamManager = await nc.jetstreamManager();
  await ensureStream(jsm, stream);
  const kinds = Object.values(SendKind);
  if (open) await Promise.all(kinds.map((kind) => ensureConsumer(jsm, SHARD, kind)));
  const offered: SendJob[] = [];
  const errors: unknown[] = [];
  const intake = new Intake({
    nc,
    jsm,
    stream,
    clock: systemClock,
    offer: (found, ack) => {
      offered.push(found);
      offer(found, ack);
    },
    queuedCount,
    maxQueued: 10,
    pullExpiresMs: 1_000,
    onError: (error) => void errors.push(error),
  });
  if (open) intake.open([SHARD]);
  const has = (leadId: number) => offered.some((found) => found.leadId === leadId);
  return {
    nats,
    nc,
    jsm,
    intake,
    offered,
    errors,
    has,
    pending: async () => (await jsm.streams.info(STREAM)).state.messages,
    /** Publishes as the relay does, again and again until it arrives: it makes a stream that is gone anew. */
    republishUntilSeen: async (leadId: number) => {
      await eventually(
        async () => {
          const { failed } = await publishJobs(nc, [job(leadId)]);
          if (failed.length > 0) await ensureStream(jsm, stream).catch(() => {});
          return has(leadId);
        },
        { timeoutMs: 40_000 },
      );
    },
    [Symbol.asyncDispose]: async () => {
      await intake.close([SHARD]);
      await nc.close();
      await nats.stop();
    },
  };
}

describe("Intake", () => {
  test("offers each job of both kinds once it is published, and acks it", async () => {
    await using world = await setup();
    const jobs = Array.from({ length: 700 }, (_, i) =>
      job(i + 1, i % 2 === 0 ? SendKind.broadcast : SendKind.followUp),
    );
    await publishJobs(world.nc, jobs);
    await eventually(() => world.offered.length === 700);
    expect(world.offered.map(({ leadId }) => leadId).sort((a, b) => a - b)).toEqual(jobs.map(({ leadId }) => leadId));
    await eventually(async () => (await world.pending()) === 0);
    expect(world.errors).toEqual([]);
  });

  test("asks the server about its consumers once, and then pulls", async () => {
    await using world = await setup({ open: false });
    await Promise.all(Object.values(SendKind).map((kind) => ensureConsumer(world.jsm, SHARD, kind)));
    let asked = 0;
    world.nc.subscribe(`$JS.API.CONSUMER.INFO.${STREAM}.${consumerName(SHARD, SendKind.broadcast)}`, {
      callback: () => void asked++,
    });
    world.intake.open([SHARD]);
    // More than four pulls hold.
    const jobs = Array.from({ length: 2_200 }, (_, i) => job(i + 1));
    await publishJobs(world.nc, jobs);
    await eventually(() => world.offered.length === jobs.length);
    await eventually(async () => (await world.pending()) === 0);
    expect(asked).toBe(1);
  });

  test("acks by consumer what is acked in one go", async () => {
    const acks: (() => void)[] = [];
    await using world = await setup({ offer: (_, ack) => void acks.push(ack) });
    const jobs = Array.from({ length: 40 }, (_, i) => job(i + 1, i % 2 === 0 ? SendKind.broadcast : SendKind.followUp));
    const acked: string[] = [];
    world.nc.subscribe("$JS.ACK.>", { callback: (_, { subject }) => void acked.push(subject.split(".")[3]!) });
    await publishJobs(world.nc, jobs);
    await eventually(() => acks.length === jobs.length);
    for (const ack of acks.sort(() => -1)) ack();
    await eventually(() => acked.length === jobs.length);
    expect(acked.filter((consumer, i) => i > 0 && consumer !== acked[i - 1])).toHaveLength(1);
    await eventually(async () => (await world.pending()) === 0);
  });

  test("tells the relay when half of what it has of a lane is acked", async () => {
    const acks: (() => void)[] = [];
    await using world = await setup({ offer: (_, ack) => void acks.push(ack) });
    const told: unknown[] = [];
    world.nc.subscribe(LOW_LANES_SUBJECT, { callback: (_, { data }) => void told.push(...decodeLowLanes(data)) });
    await publishJobs(
      world.nc,
      Array.from({ length: 40 }, (_, i) => job(i + 1)),
    );
    await eventually(() => acks.length === 40);
    for (const ack of acks.slice(0, 20)) ack();
    await eventually(() => told.length === 1);
    expect(told).toEqual([{ kind: SendKind.broadcast, botId: SHARD }]);
  });

  test("drops junk for good and goes on", async () => {
    await using world = await setup();
    const js = world.nc.jetstream();
    const subject = sendSubject(SHARD, SendKind.broadcast);
    const junk = [new Uint8Array(), new TextEncoder().encode("junk"), crypto.getRandomValues(new Uint8Array(500))];
    for (const data of junk) await js.publish(subject, data);
    await publishJobs(world.nc, [job(-1), job(7)]);
    await eventually(() => world.has(7));
    expect(world.offered).toEqual([job(7)]);
    await eventually(async () => (await world.pending()) === 0);
  });

  test("pulls nothing while too many jobs wait, and goes on when they are fewer", async () => {
    let queued = 11;
    await using world = await setup({ queuedCount: () => queued });
    await publishJobs(world.nc, [job(1)]);
    const info = await world.jsm.consumers.info(STREAM, consumerName(SHARD, SendKind.broadcast));
    expect([info.num_waiting, world.offered]).toEqual([0, []]);
    queued = 10;
    await eventually(() => world.has(1));
  });

  test("opens a shard once, closes it, and opens it again", async () => {
    await using world = await setup();
    world.intake.open([SHARD]);
    await publishJobs(world.nc, [job(1)]);
    await eventually(() => world.has(1));
    await world.intake.close([SHARD]);
    await publishJobs(world.nc, [job(2)]);
    expect(world.offered).toHaveLength(1);
    world.intake.open([SHARD]);
    await eventually(() => world.has(2));
    expect(world.offered).toHaveLength(2);
  });

  test("goes on when the stream was deleted", async () => {
    await using world = await setup();
    await deleteStream(world.jsm);
    await world.republishUntilSeen(1);
  });

  test("goes on when its consumer was deleted", async () => {
    await using world = await setup();
    await world.jsm.consumers.delete(STREAM, consumerName(SHARD, SendKind.broadcast));
    await world.republishUntilSeen(1);
  });

  test("goes on when the server was killed and started again", async () => {
    await using world = await setup();
    await world.republishUntilSeen(1);
    await world.nats.kill9();
    await world.nats.restart();
    await world.republishUntilSeen(2);
  });

  test("goes on when the server lost its whole store", async () => {
    await using world = await setup();
    await world.republishUntilSeen(1);
    await world.nats.wipe();
    await world.republishUntilSeen(2);
  });

  test("makes a consumer anew that has messages and delivers none", async () => {
    await using world = await setup({ open: false });
    const kind = SendKind.broadcast;
    // As a stalled one looks from outside: all that it may deliver is out, with somebody who never acks.
    await world.jsm.consumers.add(STREAM, { ...consumerConfig(SHARD, kind), max_ack_pending: 1 });
    await publishJobs(world.nc, [job(1), job(2), job(3)]);
    const consumer = await world.nc.jetstream().consumers.get(STREAM, consumerName(SHARD, kind));
    await consumer.next();
    world.intake.open([SHARD]);
    await eventually(() => world.offered.length === 3, { timeoutMs: 20_000 });
    expect(String(world.errors)).toContain("delivered none");
  });

  test.each(["up", "down"])("closes promptly while the server is %s", async (state) => {
    await using world = await setup();
    await world.republishUntilSeen(1);
    if (state === "down") await world.nats.kill9();
    const startedAt = performance.now();
    await world.intake.close([SHARD]);
    expect(performance.now() - startedAt).toBeLessThan(500);
    if (state === "down") await world.nats.restart();
  });

  test("closes promptly while it waits for a server that has been away for a while", async () => {
    await using world = await setup();
    await world.nats.kill9();
    await eventually(() => world.errors.length >= 2, { timeoutMs: 30_000 });
    const startedAt = performance.now();
    await world.intake.close([SHARD]);
    expect(performance.now() - startedAt).toBeLessThan(500);
    await world.nats.restart();
  });
});
