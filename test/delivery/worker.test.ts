import { describe, expect, test } from "bun:test";
import { pauseBroadcast, reviewBroadcast } from "#services/broadcast/life-cycle.ts";
import { shutGate } from "#services/core/ledger/gate.ts";
import { SendReason, SendState } from "#services/core/ledger/send.ts";
import { expectConsistent } from "../support/consistent.ts";
import { eventually } from "../support/eventually.ts";
import { holdCommits, holdLock } from "../support/held-transaction.ts";
import { broadcastJob, rowsOf } from "../support/world.ts";
import { sendAll, setupWorker, statesOf, type WorkerWorld } from "./setup.ts";

/** A block that is on and says "Hi". */
async function addBlock(world: WorkerWorld): Promise<number> {
  const source = await world.addBlock();
  await world.sql`UPDATE block SET parsed = ${world.sql.json({ text: "Hi", entities: [] })}`;
  return source;
}

describe("Worker", () => {
  test("claims, sends, settles and acks each job once, also where it came twice", async () => {
    await using world = await setupWorker({ bots: 3, leads: 300 });
    const id = await world.start({ text: "Good news" });
    const jobs = await world.jobs(id);
    world.offer([...jobs, ...jobs.slice(0, 100)]);
    await eventually(async () => (await world.counters(id)).sent === 300);
    await eventually(() => world.acked.length === 400);
    const totals = await world.control.totals();
    expect(totals).toMatchObject({ accepted: 300, refused: 0, mostPerChat: 1 });
    const [message] = await world.control.messages({ limit: 1 });
    expect(JSON.stringify(message)).toContain("Unsubscribe");
    const [row] = await world.rows(id);
    expect(row).toMatchObject({ state: SendState.sent, reason: 0, attempts: 1 });
    expect(row!.messageId).toBeGreaterThan(0);
    expect([world.unsent, world.errors, world.worker.queuedCount]).toEqual([[], [], 0]);
    expect((await world.broadcast(id)).acceptedRevision).toBe(1);
    await expectConsistent(world.sql);
  });

  test("sends follow-ups before broadcasts", async () => {
    await using world = await setupWorker({ leads: 12, messagesPerSecond: 10, worker: { limitOf: undefined } });
    const source = await addBlock(world);
    const jobs = await world.jobs(await world.start());
    world.offer(jobs);
    world.offer(await world.schedule(source, world.leads.slice(0, 5)));
    await eventually(async () => (await world.control.totals()).accepted >= 7);
    const order = (await world.control.messages()).map(({ text }) => text).slice(0, 7);
    // What had been claimed already goes first; then no broadcast before the last follow-up.
    expect(order.filter((text) => text === "Hi")).toHaveLength(5);
  });

  test("forgets jobs that are stale, forged or of a bot that does not exist", async () => {
    await using world = await setupWorker({ leads: 2 });
    const id = await world.start();
    const [job] = await world.jobs(id);
    const { sourceId } = await world.broadcast(id);
    const forged = [
      broadcastJob(sourceId, { id: 999_999, botId: world.botId }),
      broadcastJob(999_999, world.leads[0]!),
      broadcastJob(sourceId, { id: Number.MAX_SAFE_INTEGER, botId: Number.MAX_SAFE_INTEGER }),
      { ...job!, kind: 2 as const },
      { ...job!, botId: world.botId + 1 },
      { ...job!, entry: 2_147_483_647 },
    ];
    world.offer(forged);
    await eventually(() => world.acked.length === forged.length);
    expect(await world.control.totals()).toMatchObject({ accepted: 0, refused: 0 });
    expect(await statesOf(world, id)).toEqual([0, 0]);
    expect(world.errors).toEqual([]);
  });

  test("acks a paused broadcast's jobs unsent", async () => {
    await using world = await setupWorker({ leads: 3 });
    const id = await world.start();
    await pauseBroadcast(world.sql, world.accountId, id);
    world.offer(await world.jobs(id));
    await eventually(() => world.unsent.length === 3);
    expect(world.acked).toHaveLength(3);
    expect(await statesOf(world, id)).toEqual([0, 0, 0]);
  });

  test("keeps a job whose gate is shut, asks again, and lets others pass meanwhile", async () => {
    await using world = await setupWorker({ leads: 4 });
    const shut = await world.start({ text: "Later" });
    const open = await world.start({ text: "Now" });
    const { sourceId } = await world.broadcast(shut);
    const release = await holdLock(world.sql, (tx) => shutGate(tx, sourceId));
    world.offer([...(await world.jobs(shut)), ...(await world.jobs(open))]);
    await eventually(async () => (await world.counters(open)).sent === 4);
    expect(await statesOf(world, shut)).toEqual([0, 0, 0, 0]);
    expect([world.acked.length, world.unsent]).toEqual([4, []]);
    await release();
    await eventually(async () => (await world.counters(shut)).sent === 4);
    await eventually(() => world.acked.length === 8);
    expect(world.unsent).toEqual([]);
  });

  test("fails a lead whose text is blank with its values", async () => {
    await using world = await setupWorker({ leads: 1 });
    const id = await world.start({ text: "{username}" });
    world.offer(await world.jobs(id));
    await eventually(async () => (await world.counters(id)).failed === 1);
    expect(await world.rows(id)).toMatchObject([{ state: SendState.failed, reason: SendReason.blankText }]);
    expect(await world.control.totals()).toMatchObject({ accepted: 0, refused: 0 });
    await expectConsistent(world.sql);
  });

  test("fails leads that cannot be reached, and takes them out of audiences unless it may pass", async () => {
    await using world = await setupWorker({ leads: 5 });
    const faults = ["blocked", "deactivated", "chat_not_found", "cant_send"] as const;
    for (const [i, error] of faults.entries()) {
      await world.control.script({ chat: world.leads[i]!.chatId, answer: { error } });
    }
    const id = await world.start();
    await sendAll(world, id);
    expect((await world.rows(id)).map((row) => row.reason)).toEqual([
      SendReason.blocked,
      SendReason.deactivated,
      SendReason.chatNotFound,
      SendReason.cannotSend,
      SendReason.none,
    ]);
    const gone = await world.sql<{ unreachable: number }[]>`SELECT unreachable FROM lead ORDER BY id`;
    expect(gone.map((row) => row.unreachable)).toEqual([1, 2, 3, 0, 0]);
    await expectConsistent(world.sql);
  });

  test("pauses a broadcast whose body is refused for five leads, and fails nobody", async () => {
    await using world = await setupWorker({ leads: 8 });
    await world.control.script({ answer: { error: "bad_button" } });
    const id = await world.start();
    world.offer((await world.jobs(id)).slice(0, 5));
    await eventually(async () => (await world.broadcast(id)).faultLeads === 5);
    await reviewBroadcast(world.sql, world.accountId, id);
    const broadcast = await world.broadcast(id);
    expect([broadcast.state, broadcast.pauseReason === ""]).toEqual([4, false]);
    expect(await world.counters(id)).toMatchObject({ queued: 8, failed: 0, sending: 0 });
    expect((await world.control.totals()).refused).toBe(5);
    await eventually(() => world.unsent.length === 5);
    await expectConsistent(world.sql);
  });

  test("fails the lead for a body that others have had", async () => {
    await using world = await setupWorker({ leads: 3 });
    const id = await world.start();
    const [first, ...others] = await world.jobs(id);
    world.offer([first!]);
    await eventually(async () => (await world.counters(id)).sent === 1);
    await world.control.script({ chat: world.leads[1]!.chatId, answer: { error: "too_long" } });
    world.offer(others);
    await eventually(async () => (await world.counters(id)).sent === 2);
    expect(await statesOf(world, id)).toEqual([SendState.sent, SendState.failed, SendState.sent]);
    await expectConsistent(world.sql);
  });

  test("writes no more than its bot's limit in any second", async () => {
    await using world = await setupWorker({ leads: 100, worker: { limitOf: undefined, chatIntervalMs: undefined } });
    await world.control.script({ answer: { latencyMs: [50, 150] } });
    const id = await world.start();
    world.offer(await world.jobs(id));
    await eventually(async () => (await world.counters(id)).sent === 100, { timeoutMs: 30_000 });
    // Judged by when requests are written: when a sandbox in this process sees them is up to this process.
    for (const [i, at] of world.writtenAt.entries()) {
      if (i >= 30) expect(at - world.writtenAt[i - 30]!).toBeGreaterThanOrEqual(1_000);
    }
    expect(await world.control.totals()).toMatchObject({ accepted: 100, mostPerChat: 1 });
  });

  test("claims no more than it may have on the wire at once", async () => {
    await using world = await setupWorker({ leads: 40, worker: { maxRequests: 3 } });
    await world.control.script({ answer: { latencyMs: 30 } });
    const id = await world.start();
    world.offer(await world.jobs(id));
    let most = 0;
    const done = async () => {
      most = Math.max(most, world.worker.inFlightCount);
      return (await world.counters(id)).sent === 40;
    };
    await eventually(done, { timeoutMs: 30_000 });
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(3);
  });

  test("keeps a second between two leads of one chat, without standing in the way of others", async () => {
    await using world = await setupWorker({
      campaigns: 3,
      leads: 12,
      worker: { limitOf: undefined, chatIntervalMs: undefined },
      sandbox: { chatPerSecond: 1, chatBurst: 1 },
    });
    const chatId = world.leads[0]!.chatId;
    await world.sql`UPDATE lead SET chat_id = ${chatId} WHERE id = ANY(${world.leads.slice(0, 3).map((lead) => lead.id)})`;
    const id = await world.start();
    world.offer(await world.jobs(id));
    await eventually(async () => (await world.control.totals()).accepted >= 10);
    expect((await world.control.messages({ chat: chatId })).length).toBe(1);
    await sendAll(world, id);
    expect(await world.control.bot(world.botId)).toMatchObject({ accepted: 12, mostPerChat: 3, refused: {} });
    await expectConsistent(world.sql);
  });
});

describe("a lost lease", () => {
  test("lets nothing be written, and puts back what was claimed", async () => {
    let held: ReturnType<typeof holdCommits> | undefined;
    await using world = await setupWorker({
      leads: 3,
      wrap: (sql) => {
        held = holdCommits(sql);
        return held.sql;
      },
    });
    const id = await world.start();
    world.offer(await world.jobs(id));
    await held!.reached;
    world.lease.held = false;
    world.worker.lose([world.botId % 32]);
    held!.release();
    await eventually(() => world.unsent.length === 3);
    expect(await world.control.totals()).toMatchObject({ accepted: 0, refused: 0 });
    expect(await world.rows(id)).toMatchObject(
      [1, 2, 3].map(() => ({ state: SendState.queued, reason: expect.any(Number) })),
    );
    await expectConsistent(world.sql);
    world.lease.held = true;
    await sendAll(world, id);
    expect(await world.control.totals()).toMatchObject({ accepted: 3, mostPerChat: 1 });
  });

  test("sends jobs back without asking Postgres", async () => {
    await using world = await setupWorker({ leads: 2 });
    const id = await world.start();
    world.lease.held = false;
    world.offer(await world.jobs(id));
    expect(world.worker.queuedCount).toBe(0);
    await eventually(() => world.unsent.length === 2);
  });

  test("is told by the claim where we did not notice", async () => {
    await using world = await setupWorker({ leads: 2 });
    const id = await world.start();
    await world.sql`UPDATE shard_lease SET fence = fence + 1, owner = 'another'`;
    world.offer(await world.jobs(id));
    await eventually(() => world.unsent.length === 2);
    expect((await world.control.totals()).accepted).toBe(0);
    expect(await statesOf(world, id)).toEqual([0, 0]);
  });
});

describe("a claim that fails", () => {
  test.each([
    ["before its commit", false],
    ["after its commit", true],
  ])("%s is disowned, and its sends are made later", async (_, committed) => {
    let fail = true;
    await using world = await setupWorker({
      leads: 4,
      wrap: (sql) => {
        const begin = async (mode: string, work: never) => {
          const failing = fail;
          fail = false;
          if (!failing) return await sql.begin(mode, work);
          if (committed) await sql.begin(mode, work);
          throw new Error("The connection broke.");
        };
        return new Proxy(sql, { get: (target, name) => (name === "begin" ? begin : Reflect.get(target, name)) });
      },
    });
    const id = await world.start();
    world.offer(await world.jobs(id));
    // What comes first is claimed before the bot's limit is known: two sends of four.
    await eventually(() => world.unsent.length === 2);
    expect(world.errors).toHaveLength(1);
    expect(await statesOf(world, id)).toContain(SendState.queued);
    await sendAll(world, id);
    await expectConsistent(world.sql);
    expect(await world.control.totals()).toMatchObject({ accepted: 4, mostPerChat: 1 });
  });

  test("and is committed only after it was disowned is disowned again", async () => {
    const late = Promise.withResolvers<void>();
    let committed: Promise<unknown> | undefined;
    await using world = await setupWorker({
      leads: 4,
      wrap: (sql) => {
        const begin = (mode: string, work: never) => {
          if (committed) return sql.begin(mode, work);
          committed = late.promise.then(() => sql.begin(mode, work));
          throw new Error("The connection broke.");
        };
        return new Proxy(sql, { get: (target, name) => (name === "begin" ? begin : Reflect.get(target, name)) });
      },
    });
    const id = await world.start();
    world.offer(await world.jobs(id));
    await eventually(() => world.unsent.length === 2);
    late.resolve();
    await committed;
    expect((await world.counters(id)).sending).toBe(2);
    await eventually(async () => (await world.counters(id)).sending === 0);
    await sendAll(world, id);
    await expectConsistent(world.sql);
    expect(await world.counters(id)).toMatchObject({ sent: 4, unconfirmed: 0 });
  });
});

describe("drain", () => {
  test("finishes what is on the wire, puts back the rest, and leaves nothing unconfirmed", async () => {
    await using world = await setupWorker({ leads: 60, worker: { limitOf: () => 60 } });
    await world.control.script({ answer: { latencyMs: [50, 300] } });
    const id = await world.start();
    world.offer(await world.jobs(id));
    await eventually(async () => (await world.control.totals()).accepted >= 10);
    await world.worker.stop();
    const { accepted } = await world.control.totals();
    expect(await world.counters(id)).toMatchObject({
      sent: accepted,
      queued: 60 - accepted,
      sending: 0,
      unconfirmed: 0,
    });
    expect([world.worker.queuedCount, world.worker.inFlightCount, world.settler.pending]).toEqual([0, 0, 0]);
    expect(world.acked).toHaveLength(60);
    expect(world.unsent).toHaveLength(60 - accepted);
    await expectConsistent(world.sql);
  });

  test("ends when a second has passed since the last request, so that the next owner's pace adds nothing to ours", async () => {
    await using world = await setupWorker({ leads: 1, worker: { limitOf: undefined } });
    const id = await world.start();
    world.offer(await world.jobs(id));
    await eventually(async () => (await world.counters(id)).sent === 1);
    const [message] = await world.control.messages();
    const sentAt = performance.now();
    await world.worker.drain([world.botId % 32]);
    expect(message).toBeDefined();
    expect(performance.now() - sentAt).toBeGreaterThan(700);
  });

  test("sends back what comes to a shard that is given up, until it is ours again", async () => {
    await using world = await setupWorker({ leads: 2 });
    const id = await world.start();
    world.lease.open = false;
    await world.worker.drain([world.botId % 32]);
    world.offer(await world.jobs(id));
    await eventually(() => world.unsent.length === 2);
    world.lease.open = true;
    await sendAll(world, id);
    expect((await world.counters(id)).sent).toBe(2);
  });

  test("puts a follow-up back so that it is found again", async () => {
    await using world = await setupWorker({ leads: 1 });
    const source = await addBlock(world);
    const jobs = await world.schedule(source, world.leads);
    await world.control.script({ answer: { error: "retry_after" }, times: 1 });
    world.offer(jobs);
    await eventually(() => world.unsent.length === 1);
    const [row] = await world.sql<{ state: number; due: boolean }[]>`
      SELECT state, due_at <= now() AS due FROM send WHERE source_id = ${source}`;
    expect(row).toEqual({ state: SendState.queued, due: true });
    expect(await rowsOf(world.sql, source)).toHaveLength(1);
  });
});
