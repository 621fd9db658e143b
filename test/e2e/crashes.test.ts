import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { SendReason, SendState, shardOf } from "#services/core/ledger/send.ts";
import { LeaseRole } from "#services/core/shards/leases.ts";
import { type Customer, type CustomerOptions, createCustomer } from "../support/customer.ts";
import { eventually } from "../support/eventually.ts";
import { countStates, expectCounters, expectNobodyTwice, linesOfRecord, linesOfSent } from "../support/records.ts";
import { type System, withSystem } from "../support/system.ts";

setDefaultTimeout(120_000);

describe("a broadcast whose processes are stopped in the middle", () => {
  test("loses nothing and leaves nothing in doubt when delivery is told to stop", () =>
    withSystem({}, async (system) => {
      const { customer, id } = await startBroadcast(system, { leadsPerBot: 400, messagesPerSecond: 200 });
      await customer.untilAccepted(200);
      expect(await system.sigterm("delivery")).toBe(0);
      const record = linesOfRecord(await customer.record());
      const rows = await customer.ledger(id);
      expect(countStates(rows)).toMatchObject({ sending: 0, unconfirmed: 0, failed: 0, dropped: 0 });
      expect(linesOfSent(rows, customer)).toEqual(record);
      expect(record.length).toBeLessThan(800);
      await system.start("delivery");
      await expectAllReachedOnce(system, { customer, id, leads: 800 });
    }));

  test("has in doubt exactly what was on the wire when delivery is killed, and messages nobody twice", () =>
    withSystem({}, async (system) => {
      const { customer, id } = await startBroadcast(system, { leadsPerBot: 400, messagesPerSecond: 200 });
      await customer.untilAccepted(200);
      await system.kill9("delivery");
      await untilDisconnected(system, "leadcast-delivery");
      const { sending } = countStates(await customer.ledger(id));
      expect(sending).toBeGreaterThan(0);
      await system.start("delivery");
      await expectEndedInDoubtOf(system, { customer, id, leads: 800, unconfirmed: sending });
    }));

  test("goes on with the other delivery replica when one of two is killed", () =>
    withSystem({ delivery: 2 }, async (system) => {
      const customer = await createCustomer(system, { ...ofTwoReplicas, leadsPerBot: 400 });
      await untilSharedBetweenTwo(system, LeaseRole.delivery);
      const id = await startSlowly(system, customer);
      await customer.untilAccepted(200);
      await system.kill9("delivery-2");
      await expectEndedInDoubtOf(system, { customer, id, leads: 800 });
    }));

  test("is handed over with nothing in doubt when a delivery replica joins", () =>
    withSystem({}, async (system) => {
      const { customer, id } = await startBroadcast(system, {
        ...ofTwoReplicas,
        leadsPerBot: 800,
        messagesPerSecond: 150,
      });
      await customer.untilAccepted(100);
      await system.start("delivery-2");
      await untilSharedBetweenTwo(system, LeaseRole.delivery);
      expect((await customer.get(id)).status).toBe(1);
      await expectAllReachedOnce(system, { customer, id, leads: 1_600 });
    }));

  test("goes on with the other relay when one of two is killed", () =>
    withSystem({ broadcast: 2 }, async (system) => {
      const customer = await createCustomer(system, { ...ofTwoReplicas, leadsPerBot: 2_500, messagesPerSecond: 800 });
      await untilSharedBetweenTwo(system, LeaseRole.relay);
      const id = await startSlowly(system, customer);
      await customer.untilAccepted(200);
      await system.kill9("broadcast-2");
      await expectAllReachedOnce(system, { customer, id, leads: 5_000 });
    }));
});

const stepDeadline = { timeoutMs: 30_000 };

/** Bots whose shards lie in different halves, so that each of two replicas works for one of them. */
const ofTwoReplicas = { botIds: [1, 31] };

/** A broadcast to a customer's leads, by a Bot API that takes its time: so there is always something on the wire. */
async function startBroadcast(system: System, options: CustomerOptions): Promise<{ customer: Customer; id: number }> {
  const customer = await createCustomer(system, options);
  return { customer, id: await startSlowly(system, customer) };
}

async function startSlowly(system: System, customer: Customer): Promise<number> {
  await system.sandbox.script({ answer: { latencyMs: [30, 120] } });
  const id = await customer.createBroadcast("Hello {user}");
  await customer.start(id);
  return id;
}

async function untilSharedBetweenTwo({ sql }: System, role: LeaseRole): Promise<void> {
  await eventually(async () => {
    const shards = ofTwoReplicas.botIds.map(shardOf);
    const [row] = await sql<{ owners: number }[]>`
      SELECT count(DISTINCT owner) AS owners FROM shard_lease WHERE role = ${role} AND shard = ANY(${shards}::smallint[])`;
    return row!.owners === 2;
  }, stepDeadline);
}

/** What a process had asked of Postgres is still carried out after its death. */
async function untilDisconnected({ sql }: System, application: string): Promise<void> {
  await eventually(async () => {
    const open = await sql`
      SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = ${application}`;
    return open.length === 0;
  }, stepDeadline);
}

interface Expected {
  customer: Customer;
  id: number;
  leads: number;
}

async function expectAllReachedOnce(system: System, { customer, id, leads }: Expected): Promise<void> {
  expect(await customer.untilDone(id)).toMatchObject({ sent: leads, queued: 0, failed: 0 });
  const rows = await customer.ledger(id);
  expect(countStates(rows)).toMatchObject({ sent: leads, unconfirmed: 0 });
  expect(linesOfSent(rows, customer)).toEqual(linesOfRecord(await customer.record()));
  await expectNobodyTwice(system);
}

/** Ended by itself; who is not known to have got the message is in doubt, and so is nobody else. */
async function expectEndedInDoubtOf(
  system: System,
  { customer, id, leads, unconfirmed }: Expected & { unconfirmed?: number },
): Promise<void> {
  const done = await customer.untilDone(id);
  const rows = await customer.ledger(id);
  const states = countStates(rows);
  expectCounters(done, rows);
  expect(states).toMatchObject({ queued: 0, sending: 0, failed: 0, dropped: 0 });
  expect(states.sent + states.unconfirmed).toBe(leads);
  if (unconfirmed !== undefined) expect(states.unconfirmed).toBe(unconfirmed);
  const record = await customer.record();
  const accepted = new Set(linesOfRecord(record));
  expect(linesOfSent(rows, customer).filter((line) => !accepted.has(line))).toEqual([]);
  const inDoubt = rows.filter((row) => row.state === SendState.unconfirmed);
  expect(inDoubt.every((row) => row.reason === SendReason.ownerGone)).toBeTrue();
  const settled = new Set(rows.filter((row) => row.state === SendState.sent).map((row) => row.chatId));
  const doubtful = new Set(inDoubt.map((row) => row.chatId));
  expect(record.filter(({ chat }) => !settled.has(chat) && !doubtful.has(chat))).toEqual([]);
  await expectNobodyTwice(system);
}
