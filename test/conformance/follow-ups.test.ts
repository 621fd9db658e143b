import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { CampaignState } from "#gen/leadcast/campaign/v1/campaign_pb.ts";
import { SendReason, SendState } from "#services/core/ledger/send.ts";
import { eventually } from "#test/support/eventually.ts";
import { type Customer, type CustomerOptions, createCustomer, leadStatus } from "./customer.ts";
import { createRestApi } from "./rest-api.ts";
import { createStack, type Stack } from "./stack.ts";

const hold = 1;
const approve = 2;

let stack: Stack;
beforeAll(async () => {
  const limitOf = (bot: { messagesPerSecond: number }) => bot.messagesPerSecond;
  stack = await createStack({ relays: 2, deliveries: 2, delivery: { limitOf } });
});
afterAll(() => stack.stop());

async function setup(options: CustomerOptions = {}, delay = 0) {
  const customer = await createCustomer(stack, { flows: true, ...options });
  const api = createRestApi(stack.gateway, customer.session);
  const block = { id: customer.campaignId, status: approve };
  await api.ok("POST camp/broadcast", { ...block, on: 1, delay, text: "You are in, {user}" });
  return { customer, api, block };
}

async function sendsOf(customer: Customer) {
  return await stack.sql<{ leadId: number; entry: number; state: number; reason: number; dueAt: Date | null }[]>`
    SELECT lead_id AS "leadId", entry, state, reason, due_at AS "dueAt" FROM send
    WHERE bot_id = ${customer.botId} AND kind = 2 ORDER BY lead_id, entry`;
}

const received = async (customer: Customer, count: number) =>
  await eventually(async () => {
    const messages = await customer.messages();
    return messages.length >= count && messages;
  });

/** How long after its due time each message arrived, in ms. */
const lateness = (messages: Awaited<ReturnType<Customer["messages"]>>, dueMs: number) =>
  messages.map(({ wall_ms }) => wall_ms - dueMs);

describe("entering a status", () => {
  test("by SetLeadStatus sends the block's message, with the unsubscribe row, within a second of its due time", async () => {
    const { customer } = await setup({}, 1);
    const entered = Date.now();
    await customer.enter(customer.leadIds[0]!, approve, entered);

    const messages = await received(customer, 1);
    expect(messages).toMatchObject([{ chat: customer.firstChat, text: "You are in, User 0" }]);
    expect(JSON.stringify(messages[0]!.reply_markup)).toContain("Unsubscribe");
    const [late] = lateness(messages, entered + 1_000) as [number];
    expect(late).toBeGreaterThanOrEqual(0);
    expect(late).toBeLessThanOrEqual(1_000);
    await eventually(async () => (await sendsOf(customer))[0]?.state === SendState.sent);
  });

  test("by PutLeads does the same for all of them, and repeated and reordered reports change nothing", async () => {
    const { customer } = await setup({ leads: 0 }, 1);
    const entered = Date.now();
    const put = (status: number, at: number, scheduleFollowUps?: boolean) =>
      stack.platform.campaign.putLeads({
        accountId: customer.accountId,
        campaignId: BigInt(customer.campaignId),
        leads: Array.from({ length: 20 }, (_, i) => ({
          chatId: BigInt(customer.firstChat + i),
          status: leadStatus(status),
          statusTime: timestampFromMs(at),
        })),
        scheduleFollowUps,
      });
    await Promise.all([put(approve, entered), put(approve, entered), put(hold, entered - 5_000)]);
    await put(approve, entered);

    const messages = await received(customer, 20);
    const late = lateness(messages, entered + 1_000);
    expect(Math.min(...late)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...late)).toBeLessThanOrEqual(1_000);
    expect(new Set(messages.map(({ chat }) => chat)).size).toBe(20);
    await put(approve, entered);
    expect((await sendsOf(customer)).length).toBe(20);
    expect((await customer.messages()).length).toBe(20);
  });

  test("schedules nothing for an import, a block that is off, another status or a paused campaign", async () => {
    const { customer } = await setup({ campaigns: 2 });
    const [imported, elsewhere] = customer.leadIds as [number, number, number];
    const silent = { accountId: customer.accountId, leadId: BigInt(imported), status: leadStatus(approve) };
    const at = timestampFromMs(Date.now());
    await stack.platform.campaign.setLeadStatus({ ...silent, statusTime: at, scheduleFollowUps: false });
    await customer.enter(elsewhere, hold);
    const [other] = await customer.putLeads(1, { from: 9, campaignId: customer.campaignIds[1] });
    await customer.enter(other!, approve);
    await customer.putCampaignState(customer.campaignId, CampaignState.PAUSED);
    await customer.enter(customer.leadIds[2]!, approve);
    expect((await sendsOf(customer)).length).toBe(0);
  });

  test("again is another entry and sends again; an equal or older time is not", async () => {
    const { customer } = await setup();
    const leadId = customer.leadIds[0]!;
    const first = Date.now() - 1_000;
    await customer.enter(leadId, approve, first);
    await received(customer, 1);
    for (const stale of [first, first - 60_000]) await customer.enter(leadId, approve, stale);
    await customer.enter(leadId, approve, first + 500);
    await received(customer, 2);
    await eventually(async () => (await sendsOf(customer)).every(({ state }) => state === SendState.sent));
    expect((await sendsOf(customer)).map(({ entry }) => entry)).toEqual([2, 3]);
    expect((await customer.messages()).length).toBe(2);
  });
});

describe("a follow-up that is due", () => {
  interface Drop {
    because: string;
    reason: SendReason;
    change(world: Awaited<ReturnType<typeof setup>>): Promise<unknown>;
  }
  const drops: Drop[] = [
    {
      because: "its block was turned off",
      reason: SendReason.blockOff,
      change: ({ api, block }) => api.ok("POST camp/broadcast", { ...block, on: 0 }),
    },
    {
      because: "the lead has changed its status",
      reason: SendReason.statusChanged,
      change: ({ customer }) => customer.enter(customer.leadIds[0]!, hold, Date.now() + 1),
    },
    {
      because: "the lead has opted out",
      reason: SendReason.optedOut,
      change: ({ customer: { accountId, leadIds } }) =>
        stack.platform.campaign.optOutLead({ accountId, leadId: BigInt(leadIds[0]!) }),
    },
    {
      because: "the lead has blocked the bot",
      reason: SendReason.unreachable,
      change: ({ customer: { accountId, botId, firstChat } }) =>
        stack.platform.campaign.setLeadReachable({
          accountId,
          botId: BigInt(botId),
          chatId: BigInt(firstChat),
          reachable: false,
          changeTime: timestampFromMs(Date.now()),
        }),
    },
    {
      because: "the campaign is paused",
      reason: SendReason.campaignNotLive,
      change: ({ customer }) => customer.putCampaignState(customer.campaignId, CampaignState.PAUSED),
    },
    {
      because: "the campaign is deleted",
      reason: SendReason.campaignNotLive,
      change: ({ customer }) => customer.deleteCampaign(customer.campaignId),
    },
    {
      because: "the account has lapsed",
      reason: SendReason.entitlement,
      change: ({ customer }) => customer.rebill({ paid: false }),
    },
    {
      because: "the tariff lacks the feature now",
      reason: SendReason.entitlement,
      change: ({ customer }) => customer.rebill({ broadcasts: false }),
    },
  ];

  for (const { because, reason, change } of drops) {
    test(`is dropped, with the reason, when ${because}`, async () => {
      const world = await setup({ flows: false });
      const { customer, api } = world;
      await customer.enter(customer.leadIds[0]!, approve);
      expect(await api.ok("GET broadcast/quota")).toMatchObject({ queued: 1 });
      await change(world);
      await customer.flow();
      await eventually(async () => (await sendsOf(customer))[0]?.state === SendState.dropped);
      expect(await sendsOf(customer)).toMatchObject([{ state: SendState.dropped, reason }]);
      expect(await customer.messages()).toEqual([]);
    });
  }

  test("has the body that the block has at that moment", async () => {
    const { customer, api, block } = await setup({ flows: false });
    await customer.enter(customer.leadIds[0]!, approve);
    await api.ok("POST camp/broadcast", {
      ...block,
      text: "Newer, {user}",
      button: "Go",
      link: "https://example.com/",
    });
    await customer.flow();
    expect((await received(customer, 1)).map(({ text }) => text)).toEqual(["Newer, User 0"]);
  });

  test("of a lead that came back while the older entry waited is sent once, for the newer one", async () => {
    const { customer } = await setup({ flows: false });
    const leadId = customer.leadIds[0]!;
    await customer.enter(leadId, approve, Date.now() - 10);
    await customer.enter(leadId, approve, Date.now());
    await customer.flow();
    await eventually(async () => (await sendsOf(customer)).every(({ state }) => state > SendState.sending));
    expect(await sendsOf(customer)).toMatchObject([
      { entry: 2, state: SendState.dropped, reason: SendReason.statusChanged },
      { entry: 3, state: SendState.sent },
    ]);
    expect((await customer.messages()).length).toBe(1);
  });

  test("is published by two relays and sent once: 400 at the same moment", async () => {
    const { customer } = await setup({ leads: 400 }, 1);
    const entered = Date.now();
    const { accountId, campaignId, firstChat, botNumber } = customer;
    const leads = Array.from({ length: 400 }, (_, i) => ({
      chatId: BigInt(firstChat + i),
      status: leadStatus(approve),
      statusTime: timestampFromMs(entered),
    }));
    await stack.platform.campaign.putLeads({ accountId, campaignId: BigInt(campaignId), leads });
    await received(customer, 400);
    await eventually(async () => (await sendsOf(customer)).every(({ state }) => state === SendState.sent));
    expect(await stack.sandbox.control.chatsOver(1, botNumber)).toEqual([]);
    expect((await stack.sandbox.control.bot(botNumber)).accepted).toBe(400);
  });

  test("goes ahead of a running broadcast on the same bot", async () => {
    const { customer, api } = await setup({ leads: 900, messagesPerSecond: 30 });
    const id = await api.running({ text: "Broadcast" });
    await received(customer, 20);
    const entered = Date.now();
    const leadIds = customer.leadIds.slice(0, 5);
    await Promise.all(leadIds.map((leadId) => customer.enter(leadId, approve, entered)));

    await eventually(async () => {
      const found = (await customer.messages()).filter(({ text }) => text?.startsWith("You are in"));
      return found.length === leadIds.length;
    });
    // At 30 a second the broadcast has most of its thirty seconds before it.
    expect((await customer.messages()).length).toBeLessThan(890);
    await api.ok("POST broadcast/cancel", { id });
  });
});
