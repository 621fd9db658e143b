import { describe, expect, test } from "bun:test";
import { Registry } from "prom-client";
import { createBackground } from "#services/broadcast/background.ts";
import { startBroadcast } from "#services/broadcast/life-cycle.ts";
import { ProgressMeter } from "#services/broadcast/progress.ts";
import { connectQueue } from "#services/core/queue/connection.ts";
import { LeaseRole } from "#services/core/shards/leases.ts";
import { botTokenContext, createDelivery, type DeliveryOptions } from "#services/delivery/delivery.ts";
import { systemClock } from "#services/platform/clock.ts";
import { createSecretBox } from "#services/platform/secrets.ts";
import { startSandbox, tokenOf } from "#test/local/sandbox/support.ts";
import { captureLog } from "../platform/captured-log.ts";
import { expectConsistent } from "../support/consistent.ts";
import { eventually } from "../support/eventually.ts";
import { createTestNats } from "../support/nats.ts";
import { createTestDatabase } from "../support/postgres.ts";
import { createWorld, type WorldOptions } from "../support/world.ts";

const stream = { replicas: 1 };
const secretBox = createSecretBox([{ id: "1", key: new Uint8Array(32).fill(7) }]);

/** Relay and deliveries as their processes make them, in this one, on real parts. */
async function setup(options: WorldOptions & { limit?: number }) {
  const [database, nats, sandbox] = await Promise.all([createTestDatabase(), createTestNats(), startSandbox()]);
  const { sql } = database;
  const world = await createWorld(sql, options);
  await sql`DELETE FROM shard_lease`;
  for (const botId of world.botIds) {
    const sealed = secretBox.encrypt(tokenOf(botId), botTokenContext(botId));
    await sql`UPDATE bot SET token_sealed = ${sealed} WHERE id = ${botId}`;
  }
  const captured = captureLog();
  const { log } = captured;
  const nc = await connectQueue({ url: nats.url, name: "relay" });
  const lease = { ttlMs: 3_000, tickMs: 100 };
  const meter = new ProgressMeter({ sql, clock: systemClock });
  const background = await createBackground({ sql, nc, stream, clock: systemClock, meter, log, lease });
  background.start();
  const running: { stop: () => Promise<void> }[] = [];

  async function addDelivery(change: Partial<DeliveryOptions> = {}) {
    const own = await connectQueue({ url: nats.url, name: "delivery" });
    const delivery = await createDelivery({
      sql,
      nc: own,
      stream,
      clock: systemClock,
      apiRoot: sandbox.sandbox.url,
      secretBox,
      serviceBotToken: tokenOf(999),
      registry: new Registry(),
      log,
      limitOf: () => options.limit ?? Number.POSITIVE_INFINITY,
      chatIntervalMs: 0,
      lease,
      ...change,
    });
    delivery.start();
    const stop = async () => {
      await delivery.stop();
      await own.close();
    };
    running.push({ stop });
    return { ...delivery, stop };
  }

  return {
    ...world,
    nats,
    nc,
    control: sandbox.control,
    captured,
    addDelivery,
    start: async () => {
      const id = await world.addBroadcast();
      await startBroadcast(sql, world.accountId, id);
      return id;
    },
    /** How many shards each delivery owns, largest first. */
    shares: async () => {
      const rows = await sql<{ n: number }[]>`
        SELECT count(*)::int AS n FROM shard_lease WHERE role = ${LeaseRole.delivery} AND owner IS NOT NULL GROUP BY owner ORDER BY 1 DESC`;
      return rows.map((row) => row.n);
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all([background.stop(), ...running.map(({ stop }) => stop())]);
      await nc.close();
      await Promise.all([nats.stop(), sandbox.sandbox.stop()]);
      await database.drop();
    },
  };
}

describe("createDelivery", () => {
  test("takes a broadcast over three bots from Start to done", async () => {
    await using world = await setup({ bots: 3, leads: 500 });
    await world.addDelivery();
    await world.control.script({ chat: world.leads[3]!.chatId, answer: { error: "blocked" } });
    const id = await world.start();
    await eventually(async () => (await world.broadcast(id)).state === 2, { timeoutMs: 40_000 });
    expect(await world.counters(id)).toMatchObject({ sent: 499, failed: 1, queued: 0, sending: 0, unconfirmed: 0 });
    expect(await world.control.totals()).toMatchObject({ accepted: 499, distinctChats: 499, mostPerChat: 1 });
    await expectConsistent(world.sql);
    expect(world.captured.text()).not.toContain("ttttt");
  });

  test("shares the shards with another one, and hands its own over without leaving a send in doubt", async () => {
    await using world = await setup({ bots: 4, leads: 400, limit: 40 });
    await world.control.script({ answer: { latencyMs: [20, 80] } });
    const first = await world.addDelivery();
    const second = await world.addDelivery();
    await eventually(async () => Bun.deepEquals(await world.shares(), [16, 16]), { timeoutMs: 20_000 });
    const id = await world.start();
    await eventually(async () => (await world.counters(id)).sent >= 50, { timeoutMs: 20_000 });
    await first.stop();
    expect((await world.counters(id)).unconfirmed).toBe(0);
    await eventually(async () => Bun.deepEquals(await world.shares(), [32]), { timeoutMs: 20_000 });
    await eventually(async () => (await world.broadcast(id)).state === 2, { timeoutMs: 40_000 });
    expect(await world.counters(id)).toMatchObject({ sent: 400, unconfirmed: 0 });
    expect(await world.control.totals()).toMatchObject({ accepted: 400, mostPerChat: 1 });
    for (const bot of await world.control.bots()) expect(bot.refused).toEqual({});
    await expectConsistent(world.sql);
    await second.stop();
    expect(await world.shares()).toEqual([]);
  });

  test("gets through the loss of the broker's whole store", async () => {
    await using world = await setup({ bots: 2, leads: 200, limit: 30 });
    await world.addDelivery();
    const id = await world.start();
    await eventually(async () => (await world.counters(id)).sent >= 30, { timeoutMs: 20_000 });
    await world.nats.wipe();
    await eventually(async () => (await world.broadcast(id)).state === 2, { timeoutMs: 50_000 });
    expect(await world.counters(id)).toMatchObject({ sent: 200, unconfirmed: 0 });
    expect(await world.control.totals()).toMatchObject({ accepted: 200, mostPerChat: 1 });
    await expectConsistent(world.sql);
  });

  test("stops twice, and before it has anything to do", async () => {
    await using world = await setup({ bots: 1 });
    const delivery = await world.addDelivery();
    await delivery.stop();
    await delivery.stop();
    expect(await world.shares()).toEqual([]);
  });
});
