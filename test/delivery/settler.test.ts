import { describe, expect, test } from "bun:test";
import { startBroadcast } from "#services/broadcast/life-cycle.ts";
import type { Sql } from "#services/core/database/client.ts";
import type { ClaimedSend } from "#services/core/ledger/claim.ts";
import { SendReason, SendState } from "#services/core/ledger/send.ts";
import { type SendResult, ticketOf } from "#services/core/ledger/settle.ts";
import { Settler } from "#services/delivery/settler.ts";
import { systemClock } from "#services/platform/clock.ts";
import { expectConsistent } from "../support/consistent.ts";
import { eventually } from "../support/eventually.ts";
import { holdCommits } from "../support/held-transaction.ts";
import { createTestDatabase } from "../support/postgres.ts";
import { createWorld } from "../support/world.ts";

/** A broadcast whose leads are all claimed, and a settler on `sql`, by default the real one. */
async function setup({ leads, wrap = (sql) => sql }: { leads: number; wrap?: (sql: Sql) => Sql }) {
  const database = await createTestDatabase();
  const world = await createWorld(database.sql, { leads });
  const id = await world.addBroadcast();
  await startBroadcast(database.sql, world.accountId, id);
  const claimed = await world.claimQueued(id);
  const acked: number[] = [];
  const errors: unknown[] = [];
  const writes: number[] = [];
  const settler = new Settler({
    sql: wrap(database.sql),
    clock: systemClock,
    onError: (error) => errors.push(error),
    onWritten: (count) => writes.push(count),
  });
  const push = (send: ClaimedSend, result: SendResult = { result: "sent", messageId: send.leadId }) =>
    settler.push({ ticket: ticketOf(send), result }, () => acked.push(send.leadId));
  const states = async () => (await world.rows(id)).map((row) => row.state);
  return { ...world, id, claimed, acked, errors, writes, settler, push, states, [Symbol.asyncDispose]: database.drop };
}

/** A client whose transactions fail while `away` says so. */
function unreliable(sql: Sql, away: () => boolean): Sql {
  const begin = (mode: string, work: never) =>
    away() ? Promise.reject(new Error("Postgres is away.")) : sql.begin(mode, work);
  return new Proxy(sql, { get: (target, name) => (name === "begin" ? begin : Reflect.get(target, name)) });
}

describe("Settler", () => {
  test("writes what comes together in one transaction, and acks it", async () => {
    await using world = await setup({ leads: 50 });
    for (const send of world.claimed) world.push(send);
    expect(world.settler.pending).toBe(50);
    await world.settler.flush();
    expect(world.writes).toEqual([50]);
    expect(world.acked).toHaveLength(50);
    expect(await world.counters(world.id)).toMatchObject({ sent: 50, sending: 0 });
    await expectConsistent(world.sql);
  });

  test("bounds a transaction, and stops claims while too many wait", async () => {
    await using world = await setup({ leads: 1_100 });
    for (const send of world.claimed) world.push(send);
    expect(world.settler.blocked).toBe(false);
    for (const send of world.claimed) world.push(send);
    expect(world.settler.blocked).toBe(true);
    await world.settler.flush();
    expect(Math.max(...world.writes)).toBe(500);
    expect([world.settler.blocked, world.settler.pending]).toEqual([false, 0]);
    expect((await world.counters(world.id)).sent).toBe(1_100);
  });

  test("acks nothing before its result is committed", async () => {
    let held: ReturnType<typeof holdCommits> | undefined;
    await using world = await setup({
      leads: 1,
      wrap: (sql) => {
        held = holdCommits(sql);
        return held.sql;
      },
    });
    world.push(world.claimed[0]!);
    await held!.reached;
    expect([world.acked, await world.states()]).toEqual([[], [SendState.sending]]);
    held!.release();
    await world.settler.flush();
    expect([world.acked.length, await world.states()]).toEqual([1, [SendState.sent]]);
  });

  test("keeps results while Postgres is away, says so, and writes them in order when it is back", async () => {
    let away = true;
    await using world = await setup({ leads: 3, wrap: (sql) => unreliable(sql, () => away) });
    const [first, second, third] = world.claimed;
    world.push(first!);
    await eventually(() => world.errors.length >= 2);
    expect([world.settler.failing, world.settler.blocked, world.settler.pending]).toEqual([true, true, 1]);
    world.push(second!);
    world.push(third!, { result: "unconfirmed", reason: SendReason.timeout });
    const flushed = world.settler.flush();
    expect(world.acked).toEqual([]);
    away = false;
    await flushed;
    expect([world.settler.failing, world.settler.blocked]).toEqual([false, false]);
    expect(world.acked).toEqual([first!, second!, third!].map((send) => send.leadId));
    expect(await world.states()).toEqual([SendState.sent, SendState.sent, SendState.unconfirmed]);
    await expectConsistent(world.sql);
  });

  test("does not write again what is committed because an ack failed", async () => {
    await using world = await setup({ leads: 2 });
    const [first, second] = world.claimed;
    world.settler.push({ ticket: ticketOf(first!), result: { result: "sent", messageId: 1 } }, () => {
      throw new Error("The connection is closed.");
    });
    world.push(second!);
    await world.settler.flush();
    expect([world.writes, world.acked, world.errors.length]).toEqual([[2], [second!.leadId], 1]);
  });

  test("takes results that come while others are acked", async () => {
    await using world = await setup({ leads: 2 });
    const [first, second] = world.claimed;
    const ticket = ticketOf(first!);
    world.settler.push({ ticket, result: { result: "sent", messageId: 1 } }, () => world.push(second!));
    await world.settler.flush();
    expect(world.acked).toEqual([second!.leadId]);
    expect(await world.states()).toEqual([SendState.sent, SendState.sent]);
  });

  test("has nothing to flush before the first result", async () => {
    await using world = await setup({ leads: 1 });
    await world.settler.flush();
    expect(world.settler.pending).toBe(0);
  });
});
