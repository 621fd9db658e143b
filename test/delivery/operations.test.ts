import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { HoldReason, ReplicaRole } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { ErrorReason } from "#gen/leadcast/errors/v1/error_info_pb.ts";
import { SHARD_COUNT } from "#services/core/ledger/send.ts";
import { RestoreGuard } from "#services/delivery/restore.ts";
import { createCustomer } from "#test/conformance/customer.ts";
import { createRestApi } from "#test/conformance/rest-api.ts";
import { createStack, type Stack } from "#test/conformance/stack.ts";
import { expectConsistent } from "#test/support/consistent.ts";
import { eventually } from "#test/support/eventually.ts";
import { failureOf, reasonOf } from "#test/support/rpc-failure.ts";

let stack: Stack;
beforeAll(async () => {
  stack = await createStack();
});
afterAll(() => stack.stop());

async function startedBroadcast(leads: number) {
  const customer = await createCustomer(stack, { leads, flows: true });
  const api = createRestApi(stack.gateway, customer.session);
  const id = await api.draft({ text: "Hi", statuses: 31 });
  const start = () => api.ok("POST broadcast/start", { id });
  const read = () => api.ok("GET broadcast/get", { id });
  const done = () => eventually(async () => (await read()).status === 2, { timeoutMs: 30_000 });
  const received = async () => (await stack.sandbox.control.bot(customer.botNumber)).accepted;
  return { customer, api, id, start, read, done, received };
}

describe("operators", () => {
  test("hold one bot and release it: nothing is sent between, and nothing is lost", async () => {
    const { delivery } = stack.platform;
    const held = await startedBroadcast(5);
    const other = await startedBroadcast(5);
    const botId = BigInt(held.customer.botId);

    await delivery.holdBot({ botId, message: "Being looked at." });
    await Promise.all([held.start(), other.start()]);
    await other.done();

    expect(await held.received()).toBe(0);
    const { lanes } = await delivery.listLanes({});
    expect(lanes).toMatchObject([{ botId, reason: HoldReason.OPERATOR, message: "Being looked at." }]);
    expect((await held.api.ok("GET broadcast/progress", { id: held.id })).waiting).toMatchObject([
      { reason: "bot", bot: held.customer.botId },
    ]);

    await delivery.release({ botId });
    await held.done();
    expect(await held.received()).toBe(5);
  });

  test("hold everything, also for bots that come later, until it is released", async () => {
    const { delivery } = stack.platform;
    await delivery.holdAll({});
    const { start, done, received, api, id } = await startedBroadcast(5);
    await start();
    const waiting = async () => (await api.ok("GET broadcast/progress", { id })).waiting;
    await eventually(async () => ((await waiting()) as unknown[]).length > 0);
    expect(await received()).toBe(0);

    await delivery.release({ botId: 0n });

    await done();
    expect(await received()).toBe(5);
  });

  test("are told when a 429's hold ends, which nobody lifts: what holds is shown, and nothing else", async () => {
    const { delivery } = stack.platform;
    const { customer, api, id, start, received } = await startedBroadcast(5);
    const botId = BigInt(customer.botId);
    await stack.sandbox.control.script({
      bot: customer.botNumber,
      answer: { error: "retry_after", retryAfterSeconds: 600 },
      times: 1,
    });
    await start();
    const lanes = async () => (await delivery.listLanes({})).lanes.filter((lane) => lane.botId === botId);
    await eventually(async () => (await lanes()).length === 1);
    const [limited] = await lanes();

    const failure = await failureOf(delivery.release({ botId }));

    expect(failure).toMatchObject({ reason: ErrorReason.WRONG_STATE });
    expect(failure.message).toContain(timestampDate(limited!.untilTime!).toISOString());
    expect(await lanes()).toMatchObject([{ reason: HoldReason.RATE_LIMITED }]);
    const { waiting } = await api.ok("GET broadcast/progress", { id });
    expect(waiting).toMatchObject([{ reason: "bot", bot: customer.botId }]);
    expect(await received()).toBe(0);
    // Beside it an operator's hold comes and goes, and the reply says what is left.
    await delivery.holdBot({ botId, message: "Being looked at." });
    expect((await lanes()).map(({ reason }) => reason)).toEqual([HoldReason.OPERATOR, HoldReason.RATE_LIMITED]);
    const { remaining } = await delivery.release({ botId });
    expect(remaining.map(({ reason }) => reason)).toEqual([HoldReason.RATE_LIMITED]);
    await api.ok("POST broadcast/cancel", { id });
  });

  test("are told what a duplicate and a restored database need, and may release a bot that nothing holds", async () => {
    const { delivery } = stack.platform;
    const { customer } = await startedBroadcast(1);
    const botId = BigInt(customer.botId);
    expect((await delivery.release({ botId })).remaining).toEqual([]);
    for (const [held, reason, words] of [
      [customer.botId, 7, "PutBot"],
      [0, 6, "AcceptRestore"],
    ] as const) {
      await stack.sql`INSERT INTO lane (bot_id, reason) VALUES (${held}, ${reason})`;
      expect((await failureOf(delivery.release({ botId: BigInt(held) }))).message).toContain(words);
      await stack.sql`DELETE FROM lane WHERE bot_id = ${held}`;
    }
  });

  test("lift a bot's fault, a breaker and a dead token, in row and memory", async () => {
    const { delivery } = stack.platform;
    const { customer, start, done, received } = await startedBroadcast(5);
    const botId = BigInt(customer.botId);
    await stack.sql`
      INSERT INTO lane (bot_id, reason, probe_at) SELECT ${customer.botId}, unnest('{2,3,5}'::smallint[]), now() + interval '1 hour'`;
    await start();
    const lanes = async () => (await delivery.listLanes({})).lanes.filter((lane) => lane.botId === botId);
    await eventually(async () => (await lanes()).length === 3);
    expect(await received()).toBe(0);

    await delivery.release({ botId });

    await done();
    expect(await received()).toBe(5);
  });

  test("are told that a bot does not exist, and that only they may do this", async () => {
    expect(await reasonOf(stack.platform.delivery.holdBot({ botId: 987_654_321n }))).toBe("NOT_YOURS");
    expect(await reasonOf(stack.customer.delivery.holdAll({}))).toBe("FORBIDDEN");
  });

  test("see who works on which shard", async () => {
    const { leases } = await stack.platform.delivery.listLeases({});

    for (const role of [ReplicaRole.RELAY, ReplicaRole.DELIVERY]) {
      const ofRole = leases.filter((lease) => lease.role === role);
      expect(ofRole.map((lease) => lease.shard)).toEqual(Array.from({ length: SHARD_COUNT }, (_, shard) => shard));
      expect(ofRole.every((lease) => lease.owner !== "" && lease.fence > 0n)).toBe(true);
    }
  });

  test("rebuild the stream in the middle of a broadcast, which reaches everybody once", async () => {
    const { start, done, received } = await startedBroadcast(400);
    await start();
    await eventually(async () => (await received()) > 50);

    await stack.platform.delivery.rebuildStream({});

    await done();
    expect(await received()).toBe(400);
    expect(await stack.sandbox.control.chatsOver(1)).toEqual([]);
  });
});

describe("a restored database", () => {
  test("is held until it is accepted: what was queued is unconfirmed, stays out of top-ups, and the rest goes on", async () => {
    const { delivery } = stack.platform;
    const { customer, start, read, received } = await startedBroadcast(6);
    await delivery.holdAll({});
    await start();
    await stack.sql`UPDATE database_identity SET identity = 'another cluster'`;

    expect(await new RestoreGuard(stack.sql).check()).toBe(true);
    expect((await delivery.listLanes({})).lanes[0]!.message).toContain("AcceptRestore");
    expect((await delivery.acceptRestore({})).unconfirmed).toBe(6n);

    await eventually(async () => (await read()).status === 2);
    expect(await read()).toMatchObject({ sent: 0, failed: 6, queued: 0, remaining: 0 });
    expect(await received()).toBe(0);
    await customer.putLeads(2, { from: 6 });
    expect(await start()).toEqual({ queued: 2 });
    await eventually(async () => (await received()) === 2);
    expect(await new RestoreGuard(stack.sql).check()).toBe(false);
    await expectConsistent(stack.sql);
  });
});

describe("a database that was failed over without loss", () => {
  test("is held until that is said, and then sends what was queued", async () => {
    const { delivery } = stack.platform;
    const { start, read, received } = await startedBroadcast(3);
    await delivery.holdAll({});
    await start();
    await stack.sql`UPDATE database_identity SET identity = 'another timeline'`;
    expect(await new RestoreGuard(stack.sql).check()).toBe(true);

    expect((await delivery.acceptRestore({ nothingLost: true })).unconfirmed).toBe(0n);

    await eventually(async () => (await read()).status === 2);
    expect(await read()).toMatchObject({ sent: 3, failed: 0, queued: 0 });
    expect(await received()).toBe(3);
    await expectConsistent(stack.sql);
  });
});

describe("SetWebhook", () => {
  test("says that the system has no public address", async () => {
    const { botId } = await createCustomer(stack);

    expect(await reasonOf(stack.platform.delivery.setWebhook({ botId: BigInt(botId) }))).toBe("NOT_SET_UP");
  });
});
