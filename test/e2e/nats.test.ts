import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { type Customer, createCustomer } from "../support/customer.ts";
import { countStates, expectNobodyTwice, linesOfRecord, linesOfSent } from "../support/records.ts";
import { type System, withSystem } from "../support/system.ts";

/** More than the relay publishes ahead for one bot (2,000), so that it must publish while the server is away. */
const leadsPerBot = 2_500;

setDefaultTimeout(120_000);

describe("a broadcast whose nats-server fails in the middle", () => {
  test("ends by itself with nothing in doubt when the server is killed", () =>
    withSystem({}, async (system) => {
      const { customer, id } = await startBroadcast(system);
      await customer.untilAccepted(500);
      await system.nats.kill9();
      await system.nats.restart();
      await expectAllReachedOnce(system, customer, id);
    }));

  test("ends by itself with nothing in doubt when the server's whole store is wiped", () =>
    withSystem({}, async (system) => {
      const { customer, id } = await startBroadcast(system);
      await customer.untilAccepted(500);
      await system.nats.wipe();
      await expectAllReachedOnce(system, customer, id);
    }));

  test("ends by itself when what was published is wiped before anybody has pulled it", () =>
    withSystem({}, async (system) => {
      const { customer, id } = await startBroadcast(system);
      await customer.untilAccepted(500);
      await system.sigterm("delivery");
      await system.nats.wipe();
      await system.start("delivery");
      await expectAllReachedOnce(system, customer, id);
    }));
});

async function startBroadcast(system: System): Promise<{ customer: Customer; id: number }> {
  const customer = await createCustomer(system, { leadsPerBot, messagesPerSecond: 1_000 });
  const id = await customer.createBroadcast("Hello {user}");
  await customer.start(id);
  return { customer, id };
}

async function expectAllReachedOnce(system: System, customer: Customer, id: number): Promise<void> {
  expect(await customer.untilDone(id)).toMatchObject({ sent: 2 * leadsPerBot, queued: 0, failed: 0 });
  const rows = await customer.ledger(id);
  expect(countStates(rows)).toMatchObject({ sent: 2 * leadsPerBot, unconfirmed: 0 });
  expect(linesOfSent(rows, customer)).toEqual(linesOfRecord(await customer.record()));
  await expectNobodyTwice(system);
}
