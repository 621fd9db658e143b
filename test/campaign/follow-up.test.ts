import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { CampaignState } from "#gen/leadcast/campaign/v1/campaign_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { readCounters } from "#services/core/ledger/counters.ts";
import { reasonOf } from "#test/support/rpc-failure.ts";
import { at, createWorld, type World } from "./setup.ts";

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.drop());

const { WAIT, HOLD, APPROVE } = LeadStatus;

interface SendRow {
  source_id: number;
  lead_id: number;
  entry: number;
  bot_id: number;
  kind: number;
  state: number;
  due_at: Date;
}

/** A campaign whose blocks for wait (after a minute) and approve (at once) are on, and the one for hold is off. */
async function setup() {
  const customer = await world.customer();
  const { accountId, campaignId } = customer;
  const save = (status: LeadStatus, on: boolean, delaySeconds: number) =>
    world.client.saveBlock({ accountId, campaignId, status, on, delaySeconds, text: "Hi" });
  await save(WAIT, true, 60);
  await save(HOLD, false, 60);
  await save(APPROVE, true, 0);
  const blocks = await world.sql<{ source_id: number; status: number }[]>`
    SELECT source_id, status FROM block WHERE campaign_id = ${Number(campaignId)}`;
  const sourceOf = (status: LeadStatus) => blocks.find((block) => block.status === status - 1)!.source_id;
  const sends = async () => [
    ...(await world.sql<SendRow[]>`SELECT source_id, lead_id, entry, bot_id, kind, state, due_at FROM send
      WHERE source_id = ANY(${blocks.map((block) => block.source_id)}) ORDER BY lead_id, entry`),
  ];
  const queued = async (status: LeadStatus) => {
    const counters = await readCounters(world.sql, [sourceOf(status)]);
    return counters.get(sourceOf(status))!.queued;
  };
  return { ...customer, save, sourceOf, sends, queued };
}

const date = (seconds: number) => new Date(1_767_225_600_000 + seconds * 1000);

describe("an entry into a status", () => {
  test("schedules one send at the entry's time plus the delay", async () => {
    const customer = await setup();
    const leadId = await world.lead(customer, { status: WAIT, seconds: 100 });

    expect(await customer.sends()).toEqual([
      {
        source_id: customer.sourceOf(WAIT),
        lead_id: Number(leadId),
        entry: 1,
        bot_id: Number(customer.botId),
        kind: 2,
        state: 0,
        due_at: date(160),
      },
    ]);
    expect(await customer.queued(WAIT)).toBe(1);
  });

  test("schedules once however often it is reported, and again for a re-entry", async () => {
    const customer = await setup();
    for (let i = 0; i < 3; i++) await world.lead(customer, { status: WAIT, seconds: 100 });
    await world.lead(customer, { status: APPROVE, seconds: 50 });
    expect(await customer.sends()).toHaveLength(1);

    await world.lead(customer, { status: WAIT, seconds: 200 });
    await world.lead(customer, { status: APPROVE, seconds: 300 });

    const sends = await customer.sends();
    expect(sends.map((send) => [send.source_id, send.entry, send.due_at])).toEqual([
      [customer.sourceOf(WAIT), 1, date(160)],
      [customer.sourceOf(WAIT), 2, date(260)],
      [customer.sourceOf(APPROVE), 3, date(300)],
    ]);
    expect([await customer.queued(WAIT), await customer.queued(APPROVE)]).toEqual([2, 1]);
  });

  test("schedules nothing where the block is off or missing, and nothing for imports", async () => {
    const customer = await setup();
    await world.lead(customer, { chatId: 1n, status: HOLD });
    await world.lead(customer, { chatId: 2n, status: LeadStatus.TRASH });
    const { accountId, campaignId } = customer;
    const leads = [{ chatId: 3n, status: WAIT, statusTime: at(0) }];
    await world.client.putLeads({ accountId, campaignId, leads, scheduleFollowUps: false });

    expect(await customer.sends()).toEqual([]);
    expect(await customer.queued(WAIT)).toBe(0);
  });

  test("schedules nothing in a campaign that is paused", async () => {
    const customer = await setup();
    const { accountId, botId, campaignId: id } = customer;
    await world.client.putCampaign({ campaign: { id, accountId, botId, state: CampaignState.PAUSED } });

    await world.lead(customer);

    expect(await customer.sends()).toEqual([]);
  });

  test("of many leads in one call schedules and counts each that entered", async () => {
    const customer = await setup();
    const { accountId, campaignId } = customer;
    const put = (seconds: number, chats: number) =>
      world.client.putLeads({
        accountId,
        campaignId,
        leads: Array.from({ length: chats }, (_, index) => ({
          chatId: BigInt(index + 1),
          status: index % 2 ? WAIT : APPROVE,
          statusTime: at(index < 100 ? 0 : seconds),
        })),
      });
    await put(0, 200);
    await put(1, 300);

    // 200 first entries, 100 re-entries and 100 new leads, half of each in either status.
    expect(await customer.sends()).toHaveLength(400);
    expect([await customer.queued(WAIT), await customer.queued(APPROVE)]).toEqual([200, 200]);
  });

  test("is scheduled once when 20 calls report it at the same time", async () => {
    const customer = await setup();

    await Promise.all(Array.from({ length: 20 }, () => world.lead(customer, { seconds: 7 })));

    expect(await customer.sends()).toHaveLength(1);
    expect(await customer.queued(WAIT)).toBe(1);
  });
});

describe("SetLeadStatus", () => {
  test("enters the status and schedules, under the rules of PutLeads", async () => {
    const customer = await setup();
    const { accountId } = customer;
    const leadId = await world.lead(customer, { status: HOLD, seconds: 10 });
    const set = async (status: LeadStatus, seconds: number, scheduleFollowUps?: boolean) =>
      (await world.client.setLeadStatus({ accountId, leadId, status, statusTime: at(seconds), scheduleFollowUps }))
        .changed;

    expect(await set(APPROVE, 10)).toBe(false);
    expect(await set(APPROVE, 9)).toBe(false);
    expect(await set(APPROVE, 11)).toBe(true);
    expect(await set(APPROVE, 11)).toBe(false);
    expect(await set(APPROVE, 12, false)).toBe(true);
    expect(await set(APPROVE, 13)).toBe(true);

    const sends = await customer.sends();
    expect(sends.map((send) => [send.entry, send.due_at])).toEqual([
      [2, date(11)],
      [4, date(13)],
    ]);
    const [lead] = await world.sql`SELECT status, entry, status_time FROM lead WHERE id = ${Number(leadId)}`;
    expect(lead).toMatchObject({ status: 2, entry: 4, status_time: date(13) });
  });

  test("of one event that comes 20 times at once changes the lead once", async () => {
    const customer = await setup();
    const { accountId } = customer;
    const leadId = await world.lead(customer, { status: HOLD });

    const call = () => world.client.setLeadStatus({ accountId, leadId, status: APPROVE, statusTime: at(1) });
    const replies = await Promise.all(Array.from({ length: 20 }, call));

    expect(replies.filter((reply) => reply.changed)).toHaveLength(1);
    expect(await customer.sends()).toHaveLength(1);
  });

  test("answers NOT_YOURS alike for a foreign and an absent lead", async () => {
    const customer = await setup();
    const stranger = await world.customer();
    const leadId = await world.lead(customer, { status: HOLD });
    const { accountId } = stranger;

    for (const id of [leadId, 999_999n]) {
      const call = world.client.setLeadStatus({ accountId, leadId: id, status: APPROVE, statusTime: at(99) });
      expect(await reasonOf(call)).toBe("NOT_YOURS");
    }
    expect(await customer.sends()).toEqual([]);
  });
});
