import { describe, expect, test } from "bun:test";
import { HoldReason, SendState } from "#services/core/ledger/send.ts";
import { tokenOf } from "#test/local/sandbox/support.ts";
import { expectConsistent } from "../support/consistent.ts";
import { eventually } from "../support/eventually.ts";
import { rowsOf } from "../support/world.ts";
import { sendAll, setupWorker, type WorkerWorld, type WorkerWorldOptions } from "./setup.ts";

const FROZEN = "Bad Request: the bot was frozen";

/** A broadcast whose body one lead has had, and whose bot is frozen then. */
async function setupFrozen(options: WorkerWorldOptions = {}) {
  const world = await setupWorker({ leads: 50, ...options });
  const id = await world.start();
  world.offer(await world.jobs(id, 1));
  await eventually(async () => (await world.counters(id)).sent === 1);
  const rule = await world.control.script({ bot: world.botId, answer: { words: FROZEN } });
  return Object.assign(world, { id, thaw: () => world.control.unscript(rule) });
}

/** Lets the next try, or question, come at once. */
async function hurry(world: WorkerWorld): Promise<void> {
  await world.sql`UPDATE lane SET probe_at = now()`;
}

async function held(world: WorkerWorld, reason: HoldReason) {
  const [row] = await world.sql<{ probes: number; message: string }[]>`
    SELECT probes, message FROM lane WHERE bot_id = ${world.botId} AND reason = ${reason}`;
  return row;
}

describe("a bot that is frozen", () => {
  test("costs no lead, tries one after another that has not been tried, and goes on when it is thawed", async () => {
    await using world = await setupFrozen();
    // As many as are on the wire of a bot at its pace.
    world.offer(await world.jobs(world.id, 8));
    expect(await eventually(() => held(world, HoldReason.botFault))).toMatchObject({
      message: expect.stringContaining(FROZEN),
    });
    await eventually(async () => (await world.counters(world.id)).sending === 0);
    expect(await world.counters(world.id)).toMatchObject({ sent: 1, queued: 49, failed: 0 });
    const { calls } = await world.control.bot(world.botId);
    world.probe();
    for (const inVain of [1, 2, 3]) {
      await hurry(world);
      await eventually(async () => (await held(world, HoldReason.botFault))?.probes === inVain);
    }
    expect((await world.control.bot(world.botId)).calls).toBe(calls + 3);
    const refused = (await world.control.refusals(world.botId)).map(({ chat }) => chat);
    expect(new Set(refused).size).toBe(refused.length);
    expect(await world.counters(world.id)).toMatchObject({ sent: 1, queued: 49, failed: 0 });
    await world.thaw();
    await hurry(world);
    await eventually(async () => (await held(world, HoldReason.botFault)) === undefined);
    await sendAll(world, world.id);
    expect(await world.counters(world.id)).toMatchObject({ sent: 50, failed: 0 });
    expect((await world.control.totals()).mostPerChat).toBe(1);
    await expectConsistent(world.sql);
  });

  test("tries the ones that were tried when no other is left", async () => {
    await using world = await setupFrozen({ leads: 6 });
    world.offer(await world.jobs(world.id));
    await eventually(() => held(world, HoldReason.botFault));
    world.probe();
    await hurry(world);
    await eventually(async () => (await held(world, HoldReason.botFault))?.probes === 1);
    await world.thaw();
    await hurry(world);
    await sendAll(world, world.id);
    expect(await world.counters(world.id)).toMatchObject({ sent: 6, failed: 0 });
  });

  test("keeps its follow-ups, too", async () => {
    await using world = await setupFrozen();
    const block = await world.addBlock();
    world.offer(await world.schedule(block, world.leads.slice(10, 30)));
    await eventually(() => held(world, HoldReason.botFault));
    const rows = () => rowsOf(world.sql, block);
    await eventually(async () => (await rows()).every((row) => row.state === SendState.queued));
    await world.thaw();
    world.probe();
    await hurry(world);
    await eventually(async () => (await held(world, HoldReason.botFault)) === undefined);
    await eventually(async () => {
      const queued = await world.sql<never[]>`
        SELECT kind, source_id AS "sourceId", lead_id AS "leadId", bot_id AS "botId", entry FROM send
        WHERE source_id = ${block} AND state = 0`;
      world.offer(queued);
      return (await rows()).every((row) => row.state === SendState.sent);
    });
    await expectConsistent(world.sql);
  });
});

describe("a 404", () => {
  test("of one method, while getMe is well, is no dead token", async () => {
    await using world = await setupFrozen();
    await world.thaw();
    await world.control.script({ method: "sendMessage", answer: { words: "Not Found", code: 404 } });
    world.offer(await world.jobs(world.id));
    expect(await eventually(() => held(world, HoldReason.botFault))).toBeDefined();
    expect(await held(world, HoldReason.tokenDead)).toBeUndefined();
    await eventually(async () => (await world.counters(world.id)).sending === 0);
    expect(await world.counters(world.id)).toMatchObject({ failed: 0 });
  });

  test("that getMe cannot confirm blames nobody", async () => {
    await using world = await setupWorker({ leads: 3 });
    await world.control.script({ method: "sendMessage", answer: { words: "Unauthorized", code: 401 }, times: 3 });
    await world.control.script({ method: "getMe", answer: { http: 502 } });
    const id = await world.start();
    world.offer(await world.jobs(id));
    await eventually(() => held(world, HoldReason.breaker));
    expect(await held(world, HoldReason.tokenDead)).toBeUndefined();
    await eventually(async () => (await world.counters(id)).sending === 0);
    expect(await world.counters(id)).toMatchObject({ queued: 3, failed: 0, unconfirmed: 0 });
  });
});

describe("a dead token", () => {
  test("is asked about once by all that meet it, and goes on by itself when Telegram knows it again", async () => {
    await using world = await setupWorker({ leads: 20 });
    await world.control.revokeToken(tokenOf(world.botId));
    const id = await world.start();
    world.offer(await world.jobs(id));
    await eventually(() => held(world, HoldReason.tokenDead));
    await eventually(async () => (await world.counters(id)).sending === 0);
    const asked = (await world.control.refusals()).filter(({ method }) => method === "getMe").length;
    expect(asked).toBe(1);
    world.probe();
    await hurry(world);
    const [row] = await eventually(async () => {
      const rows = await world.sql<{ inSeconds: number }[]>`
        SELECT extract(epoch FROM probe_at - now())::float8 AS "inSeconds" FROM lane WHERE probe_at > now()`;
      return rows.length > 0 && rows;
    });
    expect(row!.inSeconds).toBeGreaterThan(590);
    expect(await held(world, HoldReason.tokenDead)).toBeDefined();
    await world.control.putBot(tokenOf(world.botId));
    await hurry(world);
    await sendAll(world, id);
    expect(await world.counters(id)).toMatchObject({ sent: 20, failed: 0 });
  });
});

describe("the rows of holds", () => {
  test("are what the worker follows: one that is taken away lets the bot go on", async () => {
    await using world = await setupWorker({ leads: 6 });
    world.probe();
    const id = await world.start();
    world.holds.tokenDead({ botId: world.botId, tokenVersion: 1 });
    await world.holds.flush();
    world.offer(await world.jobs(id));
    await eventually(() => world.unsent.length === 6);
    await world.sql`DELETE FROM lane`;
    await sendAll(world, id);
    expect(await world.counters(id)).toMatchObject({ sent: 6 });
  });

  test("show a 429's pause for as long as it holds, whatever deletes them", async () => {
    await using world = await setupWorker({ leads: 2 });
    world.probe();
    await world.control.script({ answer: { http: 429, retryAfter: "600" }, times: 1 });
    const id = await world.start();
    world.offer(await world.jobs(id, 1));
    await eventually(() => held(world, HoldReason.rateLimited));
    await world.sql`DELETE FROM lane`;
    expect(await eventually(() => held(world, HoldReason.rateLimited))).toBeDefined();
    expect(await world.counters(id)).toMatchObject({ queued: 2, failed: 0, unconfirmed: 0 });
  });
});
