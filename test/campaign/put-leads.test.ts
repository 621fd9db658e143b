import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { type LeadSchema, LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import type { LeadInput } from "#services/campaign/lead.ts";
import { upsertLeads } from "#services/campaign/lead-store.ts";
import { failureOf, reasonOf } from "#test/support/rpc-failure.ts";
import { at, createWorld, type World } from "./setup.ts";

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.drop());

type LeadInit = Omit<MessageInitShape<typeof LeadSchema>, "$typeName">;
const { WAIT, HOLD, APPROVE, CANCEL } = LeadStatus;

interface LeadRow {
  id: number;
  bot_id: number;
  chat_id: number;
  status: number;
  status_time: Date;
  created_time: Date;
  entry: number;
  unreachable: number;
  opted_out: boolean;
  click: string;
  user_name: string;
  subscriber: string;
  username: string;
}

async function setup() {
  const customer = await world.customer();
  const put = async (...leads: LeadInit[]) => {
    const { accountId, campaignId } = customer;
    return (await world.client.putLeads({ accountId, campaignId, leads })).leadIds;
  };
  const rows = async () => [
    ...(await world.sql<LeadRow[]>`
      SELECT * FROM lead WHERE campaign_id = ${Number(customer.campaignId)} ORDER BY chat_id`),
  ];
  return { ...customer, put, rows };
}

const date = (seconds: number) => new Date(1_767_225_600_000 + seconds * 1000);

describe("PutLeads", () => {
  test("creates leads and returns their ids in the order of the request", async () => {
    const { put, rows, botId } = await setup();
    const profile = { click: 'c"1,{}', user: "Zoë 🎁", subscriber: "\\s", username: "NULL" };

    const ids = await put(
      { chatId: 30n, status: APPROVE, statusTime: at(5), createTime: at(1), ...profile },
      { chatId: 10n, status: WAIT, statusTime: at(6) },
    );

    const [second, first] = await rows();
    expect(ids).toEqual([BigInt(first!.id), BigInt(second!.id)]);
    expect(first).toMatchObject({
      bot_id: Number(botId),
      chat_id: 30,
      status: 2,
      status_time: date(5),
      created_time: date(1),
      entry: 1,
      unreachable: 0,
      opted_out: false,
      click: profile.click,
      user_name: profile.user,
      subscriber: profile.subscriber,
      username: profile.username,
    });
    expect(second).toMatchObject({ status: 0, created_time: date(6), click: "" });
  });

  test("changes nothing when it is repeated", async () => {
    const { put, rows } = await setup();
    const lead = { chatId: 1n, status: HOLD, statusTime: at(5), user: "Ada" };
    const ids = await put(lead);
    const before = await rows();

    expect(await put(lead)).toEqual(ids);
    expect(await rows()).toEqual(before);
  });

  test("enters a status only with a newer time, and the same one again too", async () => {
    const { put, rows } = await setup();
    const state = async () => {
      const [row] = await rows();
      return [row!.status, row!.entry, row!.status_time.getTime()];
    };
    await put({ chatId: 1n, status: HOLD, statusTime: at(10) });

    await put({ chatId: 1n, status: CANCEL, statusTime: at(10) });
    expect(await state()).toEqual([1, 1, date(10).getTime()]);
    await put({ chatId: 1n, status: CANCEL, statusTime: at(9) });
    expect(await state()).toEqual([1, 1, date(10).getTime()]);
    await put({ chatId: 1n, status: HOLD, statusTime: at(11) });
    expect(await state()).toEqual([1, 2, date(11).getTime()]);
    await put({ chatId: 1n, status: APPROVE, statusTime: at(12) });
    expect(await state()).toEqual([2, 3, date(12).getTime()]);
  });

  test("keeps events of one millisecond in order", async () => {
    const { put, rows } = await setup();
    const { seconds } = timestampFromMs(0);
    await put({ chatId: 1n, status: WAIT, statusTime: { seconds, nanos: 1_000 } });
    await put({ chatId: 1n, status: APPROVE, statusTime: { seconds, nanos: 2_000 } });

    expect((await rows())[0]).toMatchObject({ status: 2, entry: 2 });
  });

  test("takes the profile of an event that is no older, and keeps create_time unless it is given", async () => {
    const { put, rows } = await setup();
    await put({ chatId: 1n, status: WAIT, statusTime: at(10), createTime: at(2), user: "Ada", click: "a" });

    await put({ chatId: 1n, status: WAIT, statusTime: at(9), createTime: at(3), user: "Old", click: "b" });
    expect((await rows())[0]).toMatchObject({ user_name: "Ada", click: "a", created_time: date(2) });
    await put({ chatId: 1n, status: WAIT, statusTime: at(10), user: "Ada L.", click: "c" });
    expect((await rows())[0]).toMatchObject({ user_name: "Ada L.", click: "c", created_time: date(2), entry: 1 });
    await put({ chatId: 1n, status: WAIT, statusTime: at(10), createTime: at(4), user: "Ada L.", click: "c" });
    expect((await rows())[0]).toMatchObject({ created_time: date(4), entry: 1 });
  });

  test("comes to the same end in whatever order and however often events arrive", async () => {
    const event = fc.record({
      chat: fc.constantFrom(1n, 2n, 3n),
      status: fc.constantFrom(WAIT, HOLD, APPROVE, CANCEL),
      seconds: fc.integer({ min: 0, max: 4 }),
    });
    const history = fc.uniqueArray(event, { selector: ({ chat, seconds }) => `${chat}/${seconds}`, minLength: 1 });
    await fc.assert(
      fc.asyncProperty(history, fc.infiniteStream(fc.nat()), async (events, random) => {
        const { put, rows } = await setup();
        const shuffled = [...events, ...events]
          .map((value) => ({ value, key: random.next().value }))
          .sort((a, b) => a.key - b.key);
        for (const { value } of shuffled) {
          await put({ chatId: value.chat, status: value.status, statusTime: at(value.seconds) });
        }
        for (const row of await rows()) {
          const own = events.filter(({ chat }) => Number(chat) === row.chat_id);
          const newest = own.reduce((a, b) => (b.seconds > a.seconds ? b : a));
          expect([row.status, row.status_time]).toEqual([newest.status - 1, date(newest.seconds)]);
        }
      }),
      { numRuns: 25 },
    );
  });

  test("takes explicit ids, and keeps assigned ones clear of them", async () => {
    const { put, rows } = await setup();
    const [assigned] = await put({ chatId: 1n, status: WAIT, statusTime: at(0) });
    const chosen = assigned! + 1n;

    expect(await put({ id: chosen, chatId: 2n, status: WAIT, statusTime: at(0) })).toEqual([chosen]);
    expect(await put({ id: chosen, chatId: 2n, status: HOLD, statusTime: at(1) })).toEqual([chosen]);
    const [next] = await put({ chatId: 3n, status: WAIT, statusTime: at(0) });

    expect(next).toBeGreaterThan(chosen);
    expect((await rows()).map((row) => row.entry)).toEqual([1, 2, 1]);
  });

  test("refuses an id of another chat or campaign, and a chat of another id, and then stores nothing", async () => {
    const { put, rows } = await setup();
    const other = await setup();
    const [foreign] = await other.put({ chatId: 9n, status: WAIT, statusTime: at(0) });
    const [own] = await put({ chatId: 1n, status: WAIT, statusTime: at(0) });
    const before = await rows();
    const fresh = { chatId: 77n, status: WAIT, statusTime: at(5) };

    const refused: [LeadInit, string][] = [
      [{ id: own, chatId: 2n, status: WAIT, statusTime: at(1) }, "leads[1].id"],
      [{ id: foreign, chatId: 9n, status: WAIT, statusTime: at(1) }, "leads[1].id"],
      [{ id: own! + 1000n, chatId: 1n, status: WAIT, statusTime: at(1) }, "leads[1].chat_id"],
      [{ id: own! + 1000n, chatId: 1n, status: WAIT, statusTime: at(0) }, "leads[1].chat_id"],
      [{ chatId: 77n, status: HOLD, statusTime: at(1) }, "leads[1].chat_id"],
    ];
    for (const [lead, field] of refused) {
      expect(await failureOf(put(fresh, lead))).toMatchObject({ reason: 5, field });
    }

    expect(await rows()).toEqual(before);
    expect((await other.rows())[0]).toMatchObject({ entry: 1 });
  });

  test("refuses what validation names", async () => {
    const { put } = await setup();
    const good = { chatId: 1n, status: WAIT, statusTime: at(0) };

    expect(await reasonOf(put())).toBe("INVALID_ARGUMENT");
    const bad: [LeadInit, string][] = [
      [{ ...good, chatId: 0n }, "leads[0].chat_id"],
      [{ ...good, status: 0 }, "leads[0].status"],
      [{ chatId: 1n, status: WAIT }, "leads[0].status_time"],
      [{ ...good, user: "x".repeat(256) }, "leads[0].user"],
      [{ ...good, user: "\0" }, "leads[0].user"],
      [{ ...good, statusTime: { seconds: 2n ** 60n, nanos: 0 } }, "leads[0].status_time"],
    ];
    for (const [lead, field] of bad) expect(await failureOf(put(lead))).toMatchObject({ reason: 5, field });
  });

  test("refuses a call whole, and names the first lead that is bad for whatever reason", async () => {
    const { put, rows } = await setup();
    const good = (chatId: bigint) => ({ chatId, status: WAIT, statusTime: at(0) });
    const ahead = timestampFromMs(Date.now() + 3_600_000);
    const future = (chatId: bigint) => ({ ...good(chatId), statusTime: ahead });
    const late = (chatId: bigint) => ({ ...good(chatId), createTime: ahead });

    const calls: [LeadInit[], string][] = [
      [[good(1n), future(2n), late(3n), good(1n)], "leads[1].status_time"],
      [[good(1n), late(2n), good(1n), future(3n)], "leads[1].create_time"],
      [[good(1n), good(2n), good(1n), future(3n)], "leads[2].chat_id"],
    ];
    for (const [leads, field] of calls) expect(await failureOf(put(...leads))).toMatchObject({ reason: 5, field });

    expect(await rows()).toEqual([]);
  });

  test("lets a new lead inherit that its chat cannot be reached by this bot", async () => {
    const { accountId, botId, campaignId, put } = await setup();
    await put({ chatId: 1n, status: WAIT, statusTime: at(0) }, { chatId: 2n, status: WAIT, statusTime: at(0) });
    await world.sql`UPDATE lead SET unreachable = 3, opted_out = true
      WHERE campaign_id = ${Number(campaignId)} AND chat_id = 1`;
    const { campaign } = await world.client.putCampaign({ campaign: { accountId, botId } });

    await world.client.putLeads({
      accountId,
      campaignId: campaign!.id,
      leads: [1n, 2n].map((chatId) => ({ chatId, status: WAIT, statusTime: at(0) })),
    });

    const rows = await world.sql`
      SELECT unreachable, opted_out FROM lead WHERE campaign_id = ${Number(campaign!.id)} ORDER BY chat_id`;
    expect([...rows]).toEqual([
      { unreachable: 3, opted_out: false },
      { unreachable: 0, opted_out: false },
    ]);
  });

  test("keeps an opt-out through later events", async () => {
    const { accountId, put, rows } = await setup();
    const [leadId] = await put({ chatId: 1n, status: WAIT, statusTime: at(0) });
    await world.client.optOutLead({ accountId, leadId });

    await put({ chatId: 1n, status: APPROVE, statusTime: at(1) });

    expect((await rows())[0]).toMatchObject({ opted_out: true, status: 2 });
  });

  test("doubles nothing when 20 overlapping calls come shuffled at the same time", async () => {
    const { put, rows } = await setup();
    const chats = Array.from({ length: 400 }, (_, index) => BigInt(index + 1));

    const calls = Array.from({ length: 20 }, (_, call) => {
      const mine = shuffle(chats.filter((chat) => (Number(chat) + call) % 3 !== 0));
      return put(...mine.map((chatId) => ({ chatId, status: call % 2 ? WAIT : HOLD, statusTime: at(call) })));
    });
    const results = await Promise.all(calls);

    const stored = await rows();
    expect(stored).toHaveLength(400);
    const known = new Set(stored.map((row) => BigInt(row.id)));
    expect(results.flat().every((id) => known.has(id))).toBe(true);
    for (const row of stored) {
      const newest = [19, 18, 17].find((call) => (row.chat_id + call) % 3 !== 0)!;
      expect(row).toMatchObject({ status: newest % 2 ? 0 : 1, status_time: date(newest) });
    }
  });

  test("locks leads in one order, so that overlapping calls never meet in a deadlock", async () => {
    const { botId, campaignId, put, rows } = await setup();
    await put(
      ...Array.from({ length: 50 }, (_, index) => ({ chatId: BigInt(index * 4 + 1), status: WAIT, statusTime: at(0) })),
    );

    // Straight to the statement: the service would try again after a deadlock and hide it.
    const calls = Array.from({ length: 8 }, (_, call) =>
      world.sql.begin(async (tx) => {
        const chats = shuffle(Array.from({ length: 200 }, (_, index) => index + 1));
        await upsertLeads(
          tx,
          { id: Number(campaignId), botId: Number(botId) },
          chats.map((chatId) => report(chatId, call)),
        );
      }),
    );
    await Promise.all(calls);

    expect(await rows()).toHaveLength(200);
  });

  test("takes 10,000 leads in one call", async () => {
    const { put, rows } = await setup();
    const leads = Array.from({ length: 10_000 }, (_, index) => ({
      chatId: BigInt(10_000 - index),
      status: WAIT,
      statusTime: at(index),
      user: `Person ${index}`,
    }));

    const ids = await put(...leads);

    const stored = await rows();
    expect(stored).toHaveLength(10_000);
    expect(ids.toReversed()).toEqual(stored.map((row) => BigInt(row.id)));
    expect(await reasonOf(put(...leads, { chatId: 10_001n, status: WAIT, statusTime: at(0) }))).toBe(
      "INVALID_ARGUMENT",
    );
  });
});

function report(chatId: number, second: number): LeadInput {
  const statusTimeUs = date(second).getTime() * 1000;
  return {
    id: 0,
    chatId,
    status: 1,
    statusTimeUs,
    createTimeUs: null,
    click: "",
    userName: "",
    subscriber: "",
    username: "",
  };
}

function shuffle<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, key: Math.random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}
