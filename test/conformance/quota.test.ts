import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eventually } from "#test/support/eventually.ts";
import { type Customer, type CustomerOptions, createCustomer } from "./customer.ts";
import { createRestApi } from "./rest-api.ts";
import { createStack, type Stack } from "./stack.ts";

const dayMs = 86_400_000;
let offsetMs = 0;
let stack: Stack;
beforeAll(async () => {
  stack = await createStack({ offsetMs: () => offsetMs, deliveries: 3, relays: 2, relayTickMs: 20 });
});
afterAll(() => stack.stop());

/** Turns every clock to just after the next 00:00 UTC. */
function passMidnight(): void {
  const now = Date.now() + offsetMs;
  offsetMs += (Math.floor(now / dayMs) + 1) * dayMs - now + 1;
}

async function setup(options: CustomerOptions) {
  const customer = await createCustomer(stack, { campaigns: 1, flows: true, ...options });
  const api = createRestApi(stack.gateway, customer.session);
  const gauge = async () => (await api.ok("GET broadcast/quota")) as { cap: number; used: number; queued: number };
  return { customer, api, gauge };
}

async function daysOf({ accountId }: Customer): Promise<number[]> {
  const rows = await stack.sql<{ used: number }[]>`
    SELECT used FROM quota_day WHERE account_id = ${Number(accountId)} AND used > 0 ORDER BY day`;
  return rows.map(({ used }) => used);
}

/** Looks at the account's days all the time, and keeps the largest `used` that it has seen. */
function watchDays(customer: Customer) {
  let over = false;
  let most = 0;
  const loop = (async () => {
    while (!over) {
      most = Math.max(most, 0, ...(await daysOf(customer)));
      await Bun.sleep(2);
    }
  })();
  return async (): Promise<number> => {
    over = true;
    await loop;
    return most;
  };
}

const settled = (customer: Customer) =>
  eventually(
    async () => (await stack.sql`SELECT 1 FROM send WHERE bot_id = ${customer.botId} AND state = 1`).length === 0,
  );

describe("the daily cap", () => {
  test("holds over 30 midnights with several claimers and two broadcasts, and all is sent in the end", async () => {
    const cap = 20;
    const leads = 290;
    const { customer, api, gauge } = await setup({ dailyCap: cap, leads });
    const mostUsed = watchDays(customer);
    const broadcasts = [await api.running(), await api.running()];

    for (let midnights = 0, left = 2 * leads; left > 0; midnights++) {
      expect(midnights).toBeLessThan(60);
      // Every third day ends in the middle of the work.
      const enough = Math.min(left, midnights % 3 === 2 ? cap / 2 : cap);
      await eventually(async () => (await gauge()).used >= enough);
      if (midnights % 3 === 2) passMidnight();
      await settled(customer);
      const { used, queued } = await gauge();
      expect(used).toBeLessThanOrEqual(cap);
      left = queued;
      if (midnights % 3 !== 2) passMidnight();
    }

    expect(await mostUsed()).toBeLessThanOrEqual(cap);
    for (const id of broadcasts) await customer.untilState(id, 2);
    const days = await daysOf(customer);
    expect(days.length).toBeGreaterThanOrEqual(30 - 1);
    expect(Math.max(...days)).toBe(cap);
    expect(days.reduce((sum, used) => sum + used, 0)).toBe(2 * leads);
    expect((await stack.sandbox.control.bot(customer.botNumber)).accepted).toBe(2 * leads);
    expect(await stack.sandbox.control.chatsOver(2, customer.botNumber)).toEqual([]);
  });

  test("keeps the broadcast running at the cap, tells what it waits for, and goes on by itself after midnight", async () => {
    const { customer, api, gauge } = await setup({ dailyCap: 2, leads: 3 });
    const id = await api.running();
    await eventually(async () => (await gauge()).used === 2);
    await settled(customer);
    expect(await gauge()).toEqual({ cap: 2, used: 2, queued: 1 });
    expect(await api.get(id)).toMatchObject({ status: 1, sent: 2, queued: 1, remaining: 1 });
    const { waiting } = (await api.ok("GET broadcast/progress", { id })) as {
      waiting: { reason: string; until: number }[];
    };
    const midnight = (Math.floor((Date.now() + offsetMs) / dayMs) + 1) * (dayMs / 1000);
    expect(waiting).toEqual([expect.objectContaining({ reason: "quota", until: midnight })]);

    passMidnight();
    const startedAt = performance.now();
    await eventually(async () => (await gauge()).used === 1);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    await customer.untilState(id, 2);
    expect(await gauge()).toEqual({ cap: 2, used: 1, queued: 0 });
  });

  test("of 0 is none, and still counts what is used", async () => {
    const { customer, api, gauge } = await setup({ dailyCap: 0, leads: 120 });
    await customer.untilState(await api.running(), 2);
    expect(await gauge()).toEqual({ cap: 0, used: 120, queued: 0 });
  });

  test("of a new tariff counts at the next claim, higher or lower", async () => {
    const { customer, api, gauge } = await setup({ dailyCap: 4, leads: 12 });
    const id = await api.running();
    await eventually(async () => (await gauge()).used === 4);

    await customer.rebill({ dailyCap: 6 });
    const startedAt = performance.now();
    await eventually(async () => (await gauge()).used === 6);
    expect(performance.now() - startedAt).toBeLessThan(2_000);

    await customer.rebill({ dailyCap: 3 });
    expect(await gauge()).toEqual({ cap: 3, used: 6, queued: 6 });
    passMidnight();
    await eventually(async () => (await gauge()).used === 3);
    await settled(customer);
    expect(await gauge()).toEqual({ cap: 3, used: 3, queued: 3 });

    await customer.rebill({ dailyCap: 0 });
    await customer.untilState(id, 2);
    expect(await daysOf(customer)).toEqual([6, 6]);
  });

  test("is given back what was not sent", async () => {
    const { customer, api, gauge } = await setup({ dailyCap: 3, leads: 4 });
    const { botNumber: bot, firstChat: chat } = customer;
    await stack.sandbox.control.script({ bot, chat, answer: { error: "deactivated" } });
    await customer.untilState(await api.running(), 2);
    expect(await gauge()).toEqual({ cap: 3, used: 3, queued: 0 });
    expect((await stack.sandbox.control.bot(bot)).accepted).toBe(3);
  });

  test("does not count follow-ups and previews", async () => {
    const { customer, api, gauge } = await setup({ dailyCap: 1, leads: 3 });
    await api.ok("POST camp/broadcast", { id: customer.campaignId, status: 2, on: 1, text: "Follow-up" });
    for (const leadId of customer.leadIds) await customer.enter(leadId, 2);
    await api.ok("POST camp/btest", { id: customer.campaignId, status: 2 });
    await eventually(async () => (await customer.messages()).length === 3);
    await eventually(async () => (await gauge()).queued === 0);
    expect(await gauge()).toEqual({ cap: 1, used: 0, queued: 0 });
  });
});
