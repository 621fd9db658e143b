import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { failureOf, reasonOf } from "#test/support/rpc-failure.ts";
import { createWorld, type World } from "./setup.ts";

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.drop());

async function leadRow(leadId: bigint) {
  const [row] = await world.sql<{ optedOut: boolean; unreachable: number }[]>`
    SELECT opted_out AS "optedOut", unreachable FROM lead WHERE id = ${Number(leadId)}`;
  return row!;
}

describe("OptOutLead", () => {
  test("ends the messages of that campaign to that chat, and of no other", async () => {
    const first = await world.customer();
    const { campaign } = await world.client.putCampaign({
      campaign: { accountId: first.accountId, botId: first.botId },
    });
    const lead = await world.lead(first, { chatId: 1n });
    const sameChat = await world.lead({ accountId: first.accountId, campaignId: campaign!.id }, { chatId: 1n });
    const otherChat = await world.lead(first, { chatId: 2n });

    await world.client.optOutLead({ accountId: first.accountId, leadId: lead });
    await world.client.optOutLead({ accountId: first.accountId, leadId: lead });

    expect(await leadRow(lead)).toEqual({ optedOut: true, unreachable: 0 });
    expect((await leadRow(sameChat)).optedOut).toBe(false);
    expect((await leadRow(otherChat)).optedOut).toBe(false);
  });

  test("answers alike for a foreign and an absent lead, and changes nothing", async () => {
    const customer = await world.customer();
    const { accountId } = await world.customer();
    const leadId = await world.lead(customer);

    const foreign = await failureOf(world.client.optOutLead({ accountId, leadId }));
    const absent = await failureOf(world.client.optOutLead({ accountId, leadId: 999_999n }));

    expect(foreign).toEqual(absent);
    expect(foreign).toMatchObject({ reason: 6 });
    expect((await leadRow(leadId)).optedOut).toBe(false);
  });
});

describe("SetLeadReachable", () => {
  async function setup() {
    const customer = await world.customer();
    const { accountId, botId } = customer;
    const { campaign } = await world.client.putCampaign({ campaign: { accountId, botId } });
    const leads = [
      await world.lead(customer, { chatId: 1n }),
      await world.lead({ accountId, campaignId: campaign!.id }, { chatId: 1n }),
    ];
    const other = await world.lead(customer, { chatId: 2n });
    const set = async (reachable: boolean, chatId = 1n) =>
      (await world.client.setLeadReachable({ accountId, botId, chatId, reachable })).changed;
    const states = async () => (await Promise.all(leads.map(leadRow))).map((row) => row.unreachable);
    return { customer, leads, other, set, states };
  }

  test("counts for every lead of that bot and chat, once", async () => {
    const { set, states, other } = await setup();

    expect(await set(false)).toBe(2);
    expect(await set(false)).toBe(0);
    expect(await states()).toEqual([1, 1]);
    expect((await leadRow(other)).unreachable).toBe(0);
    expect(await set(true)).toBe(2);
    expect(await states()).toEqual([0, 0]);
    expect(await set(false, 999n)).toBe(0);
  });

  test("lifts whatever had taken the chat out of audiences, but no opt-out", async () => {
    const { set, states, leads, customer } = await setup();
    await world.client.optOutLead({ accountId: customer.accountId, leadId: leads[0]! });
    await world.sql`UPDATE lead SET unreachable = 3 WHERE id = ${Number(leads[0])}`;

    expect(await set(true)).toBe(1);
    expect(await states()).toEqual([0, 0]);
    expect((await leadRow(leads[0]!)).optedOut).toBe(true);
  });

  test("needs a bot of the account", async () => {
    const { customer } = await setup();
    const { accountId } = await world.customer();

    for (const botId of [customer.botId, 999_999n]) {
      const call = world.client.setLeadReachable({ accountId, botId, chatId: 1n, reachable: false });
      expect(await reasonOf(call)).toBe("NOT_YOURS");
    }
  });
});
