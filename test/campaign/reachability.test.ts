import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { eventually } from "#test/support/eventually.ts";
import { failureOf, reasonOf } from "#test/support/rpc-failure.ts";
import { at, createWorld, type World } from "./setup.ts";

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
    let seconds = 0;
    const set = async (reachable: boolean, chatId = 1n, changeTime = at(++seconds)) =>
      (await world.client.setLeadReachable({ accountId, botId, chatId, reachable, changeTime })).changed;
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

  test("changes nothing where something later is known, and needs to say when it was", async () => {
    const { set, states, customer } = await setup();
    const { accountId, botId } = customer;

    await set(false, 1n, at(10));
    expect(await set(true, 1n, at(9))).toBe(0);
    expect(await states()).toEqual([1, 1]);
    const later = { ...at(10), nanos: 1_000 };
    expect(await set(true, 1n, later)).toBe(2);
    expect(await set(false, 1n, at(10))).toBe(0);
    expect(await states()).toEqual([0, 0]);
    const undated = world.client.setLeadReachable({ accountId, botId, chatId: 1n, reachable: false });
    expect(await failureOf(undated)).toMatchObject({ reason: 5, field: "change_time" });
  });

  test("takes a time far ahead for now, so that what happens next still counts", async () => {
    const { set, states } = await setup();

    await set(false, 1n, timestampFromMs(Date.UTC(2099, 0)));
    expect(await states()).toEqual([1, 1]);
    await eventually(async () => (await set(true, 1n, timestampFromMs(Date.now()))) === 2);
  });

  test("of a person who is erased leaves nothing, once no other lead has the chat", async () => {
    const { set, leads, customer } = await setup();
    const known = () => world.sql`SELECT FROM reachability WHERE bot_id = ${Number(customer.botId)}`;
    const remove = (leadId: bigint) => world.client.deleteLead({ accountId: customer.accountId, leadId });
    await set(false);

    await remove(leads[0]!);
    expect(await known()).toHaveLength(1);
    await remove(leads[1]!);

    expect(await known()).toHaveLength(0);
    await set(false);
    expect(await known()).toHaveLength(0);
  });

  test("leaves nothing of leads that are erased, reported and made at the same time", async () => {
    for (let round = 0; round < 10; round++) {
      const { set, leads, customer } = await setup();
      const remove = (leadId: bigint) => world.client.deleteLead({ accountId: customer.accountId, leadId });

      await Promise.all([remove(leads[0]!), set(false), remove(leads[1]!), set(true), set(false)]);

      expect(await world.sql`SELECT FROM reachability WHERE bot_id = ${Number(customer.botId)}`).toHaveLength(0);
    }
  });

  test("needs a bot of the account", async () => {
    const { customer } = await setup();
    const { accountId } = await world.customer();

    for (const botId of [customer.botId, 999_999n]) {
      const call = world.client.setLeadReachable({ accountId, botId, chatId: 1n, reachable: false, changeTime: at(0) });
      expect(await reasonOf(call)).toBe("NOT_YOURS");
    }
  });
});
