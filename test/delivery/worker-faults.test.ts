import { describe, expect, test } from "bun:test";
import { tokenOf } from "#test/local/sandbox/support.ts";
import { expectConsistent } from "../support/consistent.ts";
import { eventually } from "../support/eventually.ts";
import { holdCommits } from "../support/held-transaction.ts";
import { sendAll, setupWorker, statesOf } from "./setup.ts";

describe("a 429", () => {
  test("holds the whole bot for retry_after in full, and no other bot", async () => {
    await using world = await setupWorker({ bots: 2, leads: 40, sandbox: { retryAfterGraceMs: 50 } });
    const [limited, free] = world.botIds as [number, number];
    await world.control.script({ bot: limited, answer: { error: "retry_after", retryAfterSeconds: 2 }, times: 1 });
    const id = await world.start();
    const startedAt = performance.now();
    world.offer((await world.jobs(id)).filter((job) => job.botId === limited).slice(0, 1));
    await eventually(() => world.outcomes.includes("rateLimited"));
    expect(await eventually(() => world.lane(limited))).toMatchObject({ reason: 1 });
    await eventually(async () => {
      world.offer(await world.jobs(id));
      return (await world.control.bot(free)).accepted === 20;
    });
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect((await world.control.bot(limited)).accepted).toBe(0);
    await sendAll(world, id);
    expect(performance.now() - startedAt).toBeGreaterThan(2_000);
    expect(await world.control.bot(limited)).toMatchObject({ accepted: 20, insideRetryAfter: 0 });
    expect((await world.counters(id)).sent).toBe(40);
    await expectConsistent(world.sql);
  });

  test("stops what was being claimed at that moment", async () => {
    let held: ReturnType<typeof holdCommits> | undefined;
    let hold = false;
    await using world = await setupWorker({
      leads: 2,
      wrap: (sql) => {
        held = holdCommits(sql);
        const commits = held;
        return new Proxy(sql, {
          get: (target, name) => Reflect.get(hold && name === "begin" ? commits.sql : target, name),
        });
      },
    });
    await world.control.script({ chat: world.leads[0]!.chatId, answer: { latencyMs: 100 } });
    await world.control.script({
      chat: world.leads[0]!.chatId,
      answer: { error: "retry_after", retryAfterSeconds: 1 },
      times: 1,
    });
    const id = await world.start();
    const [first, second] = await world.jobs(id);
    world.offer([first!]);
    await eventually(() => world.worker.inFlightCount === 1);
    hold = true;
    world.offer([second!]);
    await held!.reached;
    await eventually(() => world.outcomes.includes("rateLimited"));
    hold = false;
    held!.release();
    await eventually(() => world.unsent.length === 2);
    expect((await world.control.bot(world.botId)).calls).toBe(1);
    expect(await statesOf(world, id)).toEqual([0, 0]);
    await expectConsistent(world.sql);
  });

  test("outlasts a breaker that is closed within it", async () => {
    await using world = await setupWorker({ leads: 4 });
    await world.control.script({ answer: { error: "retry_after", retryAfterSeconds: 5 }, times: 1 });
    const id = await world.start();
    world.offer((await world.jobs(id)).slice(0, 1));
    await eventually(() => world.outcomes.includes("rateLimited"));
    world.worker.release(world.botId);
    // Until the first one is put back it is no job.
    await eventually(async () => (await world.jobs(id)).length === 4);
    world.offer(await world.jobs(id));
    await eventually(() => world.unsent.length >= 5);
    await sendAll(world, id);
    expect(await world.control.bot(world.botId)).toMatchObject({ accepted: 4, insideRetryAfter: 0 });
  });
});

describe("a dead token", () => {
  test("stops the lane, says why, and lets it go on when the token is replaced", async () => {
    await using world = await setupWorker({ bots: 2, leads: 10 });
    const [dead, well] = world.botIds as [number, number];
    await world.control.revokeToken(tokenOf(dead));
    const id = await world.start();
    world.offer(await world.jobs(id));
    await eventually(async () => (await world.control.bot(well)).accepted === 5);
    expect(await eventually(() => world.lane(dead))).toMatchObject({ reason: 2, until: null });
    expect((await world.lane(dead))!.message).toContain("token");
    await eventually(async () => (await world.counters(id)).sending === 0);
    expect(await world.counters(id)).toMatchObject({ sent: 5, queued: 5, failed: 0 });
    const { calls } = await world.control.bot(dead);
    await world.sql`UPDATE bot SET token_sealed = ${`${dead}:${"n".repeat(35)}`}, token_version = 2 WHERE id = ${dead}`;
    await world.sql`DELETE FROM lane WHERE bot_id = ${dead}`;
    await sendAll(world, id);
    expect(await world.control.bot(dead)).toMatchObject({ accepted: 5, calls: calls + 5 });
    expect((await world.counters(id)).sent).toBe(10);
    await expectConsistent(world.sql);
  });

  test("is not blamed on a token that has been replaced meanwhile", async () => {
    await using world = await setupWorker({ leads: 1 });
    world.holds.tokenDead({ botId: world.botId, tokenVersion: 7 });
    await world.holds.flush();
    expect(await world.lane(world.botId)).toBeUndefined();
  });

  test("that cannot be opened stops the lane without blaming the body, until it can be", async () => {
    let sealed = true;
    const openToken = (botId: number) => {
      if (sealed) throw new Error("There is no such key.");
      return tokenOf(botId);
    };
    await using world = await setupWorker({ leads: 6, worker: { openToken } });
    const id = await world.start();
    world.offer(await world.jobs(id));
    expect(await eventually(() => world.lane(world.botId))).toMatchObject({ reason: 3 });
    await eventually(async () => (await world.counters(id)).sending === 0);
    expect(await world.broadcast(id)).toMatchObject({ state: 1, faultLeads: 0 });
    expect(await world.counters(id)).toMatchObject({ queued: 6, failed: 0 });
    sealed = false;
    world.probe();
    await sendAll(world, id);
    expect((await world.counters(id)).sent).toBe(6);
  });
});

describe("Postgres that is away", () => {
  test("keeps what is known, sends nothing new, and loses nothing", async () => {
    let away = false;
    await using world = await setupWorker({
      leads: 30,
      wrap: (sql) => {
        const begin = (mode: string, work: never) =>
          away ? Promise.reject(new Error("Postgres is away.")) : sql.begin(mode, work);
        return new Proxy(sql, { get: (target, name) => (name === "begin" ? begin : Reflect.get(target, name)) });
      },
    });
    await world.control.script({ answer: { latencyMs: 100 } });
    const id = await world.start();
    const jobs = await world.jobs(id);
    world.offer(jobs.slice(0, 10));
    await eventually(async () => (await world.control.totals()).accepted === 10);
    away = true;
    world.offer(jobs.slice(10));
    await eventually(() => world.settler.failing && world.settler.pending >= 10);
    expect((await world.control.totals()).accepted).toBe(10);
    expect(world.acked).toEqual([]);
    away = false;
    await sendAll(world, id);
    expect(await world.counters(id)).toMatchObject({ sent: 30, unconfirmed: 0 });
    expect(await world.control.totals()).toMatchObject({ accepted: 30, mostPerChat: 1 });
    await expectConsistent(world.sql);
  });
});
