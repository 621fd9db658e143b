import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { updateBroadcast } from "#services/broadcast/edit.ts";
import { startBroadcast } from "#services/broadcast/life-cycle.ts";
import { insertBroadcast } from "#services/broadcast/store.ts";
import { DEAD_BUTTON_TEXT } from "#services/campaign/update.ts";
import { claimSends, type SendJob } from "#services/core/ledger/claim.ts";
import { readCounters } from "#services/core/ledger/counters.ts";
import { SendKind, SendReason, shardOf } from "#services/core/ledger/send.ts";
import { checkMediaRef } from "#services/core/media/media.ts";
import { unsubscribeData } from "#services/core/message/render.ts";
import { failureOf } from "#test/support/rpc-failure.ts";
import { createWorld, type World } from "./setup.ts";

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.drop());

const chatId = 501n;
const chat = { id: 501, type: "private" };

/** A customer with two campaigns on one bot, and a lead of each in the same chat. */
async function setup() {
  const customer = await world.customer();
  const { accountId, botId, campaignId } = customer;
  const { campaign } = await world.client.putCampaign({ campaign: { accountId, botId } });
  const leadId = await world.lead(customer, { chatId, status: LeadStatus.HOLD });
  const otherCampaign = { accountId, campaignId: campaign!.id };
  const otherLeadId = await world.lead(otherCampaign, { chatId, status: LeadStatus.HOLD });
  const handle = async (update: object, webhookSecret?: string, of = botId) =>
    (await world.client.handleUpdate({ botId: of, updateJson: JSON.stringify(update), webhookSecret })).replyJson;
  const tap = (data: string, of = botId) =>
    handle({ callback_query: { id: "77", from: { id: 501 }, message: { chat }, data } }, undefined, of);
  const member = (status: string) => handle({ my_chat_member: { chat, new_chat_member: { status } } });
  const state = async (id: bigint) => {
    const [row] = await world.sql`SELECT opted_out AS "optedOut", unreachable FROM lead WHERE id = ${Number(id)}`;
    return row;
  };
  return { ...customer, campaignId, leadId, otherLeadId, handle, tap, member, state };
}

/** A running broadcast to both leads and a due follow-up to the first, with what a claim answers for each. */
async function setupSends() {
  const customer = await setup();
  const { sql, client } = world;
  const { campaignId, leadId, otherLeadId } = customer;
  const accountId = Number(customer.accountId);
  const botId = Number(customer.botId);
  const body = { text: "Hi", media: "", mediaType: 0, button: "", link: "" } as const;
  const anyTime = { createdFrom: null, createdTo: null, statusFrom: null, statusTo: null };
  const audience = { statuses: 31, campaignIds: [], ...anyTime };
  const broadcastId = await sql.begin((tx) => insertBroadcast(tx, accountId, ""));
  await updateBroadcast(sql, accountId, broadcastId, { name: "", audience, body }, checkMediaRef);
  expect(await startBroadcast(sql, accountId, broadcastId)).toBe(2);
  await client.saveBlock({
    accountId: customer.accountId,
    campaignId,
    status: LeadStatus.APPROVE,
    on: true,
    text: "Hi",
  });
  await world.lead(customer, { chatId, status: LeadStatus.APPROVE, seconds: 1 });
  await sql`
    INSERT INTO shard_lease (role, shard, fence, owner, expires_at)
    VALUES (2, ${shardOf(botId)}, 1, 'test', now() + interval '1 hour') ON CONFLICT DO NOTHING`;
  const jobs = await sql<SendJob[]>`
    SELECT source_id AS "sourceId", lead_id AS "leadId", entry, kind, bot_id AS "botId" FROM send WHERE bot_id = ${botId}`;
  const jobOf = (kind: SendKind, id: bigint) => jobs.find((job) => job.kind === kind && job.leadId === Number(id))!;
  const mine = [jobOf(SendKind.broadcast, leadId), jobOf(SendKind.followUp, leadId)];
  const claim = async (claimed: SendJob[]) => {
    const leases = new Map([[shardOf(botId), 1]]);
    return await claimSends(claimed, { sql, role: 2, leases, rescueMs: { text: 20_000, media: 70_000 } });
  };
  return { ...customer, mine, others: jobOf(SendKind.broadcast, otherLeadId), claim };
}

describe("a tap on the unsubscribe button", () => {
  test("ends the messages of that campaign to that chat, and is confirmed each time", async () => {
    const { tap, campaignId, leadId, otherLeadId, state } = await setup();

    for (let i = 0; i < 3; i++) {
      expect(JSON.parse(await tap(unsubscribeData(campaignId)))).toEqual({
        method: "answerCallbackQuery",
        callback_query_id: "77",
        text: "You will get no more messages.",
        show_alert: true,
      });
      expect(await state(leadId)).toEqual({ optedOut: true, unreachable: 0 });
    }
    expect(await state(otherLeadId)).toEqual({ optedOut: false, unreachable: 0 });
  });

  test("through a bot of another account changes nothing, and says so", async () => {
    const { tap, campaignId, leadId, state } = await setup();
    const stranger = await world.customer();

    for (const [data, botId] of [
      [unsubscribeData(campaignId), stranger.botId],
      [unsubscribeData(999_999), undefined],
      ["unsub:x", undefined],
    ] as const) {
      expect(JSON.parse(await tap(data, botId))).toMatchObject({ text: DEAD_BUTTON_TEXT, show_alert: true });
    }
    const other = { method: "answerCallbackQuery", callback_query_id: "77" };
    expect(JSON.parse(await tap("something else"))).toEqual(other);
    expect(await state(leadId)).toEqual({ optedOut: false, unreachable: 0 });
  });

  test("drops what is queued for the lead, broadcast and follow-up, when its turn comes", async () => {
    const { tap, campaignId, mine, others, claim } = await setupSends();

    await tap(unsubscribeData(campaignId));

    const dropped = { outcome: "dropped", reason: SendReason.optedOut };
    expect(await claim(mine)).toEqual([dropped, dropped] as never);
    expect(await claim([others])).toMatchObject([{ outcome: "claimed" }]);
    const counters = await readCounters(world.sql, [mine[0]!.sourceId, mine[1]!.sourceId]);
    expect(counters.get(mine[0]!.sourceId)).toMatchObject({ dropped: 1, queued: 0, sending: 1 });
    expect(counters.get(mine[1]!.sourceId)).toMatchObject({ dropped: 1, queued: 0 });
  });
});

describe("block and unblock of the bot", () => {
  test("count for every lead of that bot and chat, and lift no opt-out", async () => {
    const { tap, member, campaignId, leadId, otherLeadId, state } = await setup();
    await tap(unsubscribeData(campaignId));

    expect(await member("kicked")).toBe("");
    expect(await state(leadId)).toEqual({ optedOut: true, unreachable: SendReason.blocked });
    expect(await state(otherLeadId)).toEqual({ optedOut: false, unreachable: SendReason.blocked });

    expect(await member("member")).toBe("");
    expect(await state(leadId)).toEqual({ optedOut: true, unreachable: 0 });
    expect(await state(otherLeadId)).toEqual({ optedOut: false, unreachable: 0 });
  });

  test("drop what is queued, both kinds, for every lead of the chat", async () => {
    const { member, mine, others, claim } = await setupSends();

    await member("kicked");

    const dropped = { outcome: "dropped", reason: SendReason.unreachable };
    expect(await claim([...mine, others])).toEqual([dropped, dropped, dropped] as never);
  });

  test("leave what is queued to be sent when the chat came back in time", async () => {
    const { member, handle, mine, claim } = await setupSends();

    await member("kicked");
    await handle({ message: { chat, text: "/start" } });

    expect(await claim(mine)).toMatchObject([{ outcome: "claimed" }, { outcome: "claimed" }]);
  });

  test("of other chats and bots change nothing here", async () => {
    const { handle, leadId, state } = await setup();
    const stranger = await world.customer();
    const blocked = { my_chat_member: { chat, new_chat_member: { status: "kicked" } } };

    await handle(blocked, undefined, stranger.botId);
    await handle({ my_chat_member: { ...blocked.my_chat_member, chat: { id: 502, type: "private" } } });
    await handle({ my_chat_member: { ...blocked.my_chat_member, chat: { id: 501, type: "group" } } });

    expect(await state(leadId)).toEqual({ optedOut: false, unreachable: 0 });
  });
});

describe("updates of one person", () => {
  const T = 1_767_225_600;
  const started = (date: number, update_id: number) => ({ update_id, message: { chat, date, text: "/start" } });
  const changed = (status: string, date: number, update_id: number) => ({
    update_id,
    my_chat_member: { chat, date, new_chat_member: { status } },
  });

  test("count by when they happened: an old block that is repeated, or a message that is late, changes nothing", async () => {
    const { handle, leadId, state } = await setup();
    const block = changed("kicked", T, 100);
    await handle(block);
    expect(await state(leadId)).toMatchObject({ unreachable: SendReason.blocked });
    await handle(started(T + 60, 7));
    await handle(block);
    expect(await state(leadId)).toMatchObject({ unreachable: 0 });
    await handle(changed("kicked", T + 120, 8));
    await handle(started(T + 60, 9));
    expect(await state(leadId)).toMatchObject({ unreachable: SendReason.blocked });
  });

  test("end in one state, in whatever order and however often they come", async () => {
    const update = fc.record({
      second: fc.integer({ min: 0, max: 2 }),
      what: fc.constantFrom("kicked", "member", "message"),
    });
    const history = fc.array(update, { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(history, fc.infiniteStream(fc.nat()), async (events, random) => {
        const { handle, leadId, otherLeadId, state } = await setup();
        const updates = events.map(({ second, what }, id) =>
          what === "message" ? started(T + second, id) : changed(what, T + second, id),
        );
        const shuffled = [...updates, ...updates]
          .map((value) => ({ value, key: random.next().value }))
          .sort((a, b) => a.key - b.key);
        for (const { value } of shuffled) await handle(value);
        const last = events
          .map((event, id) => ({ ...event, id }))
          .sort((a, b) => b.second - a.second || b.id - a.id)[0]!;
        const unreachable = last.what === "kicked" ? SendReason.blocked : 0;
        for (const id of [leadId, otherLeadId]) expect(await state(id)).toMatchObject({ unreachable });
      }),
      { numRuns: 20 },
    );
  });

  test("reach a lead that is made for the chat at the same time", async () => {
    for (let round = 0; round < 10; round++) {
      const { handle, accountId, botId, state } = await setup();
      const { campaign } = await world.client.putCampaign({ campaign: { accountId, botId } });
      await handle(changed("kicked", T, 1));

      const [made] = await Promise.all([
        world.lead({ accountId, campaignId: campaign!.id }, { chatId }),
        handle(started(T + 1, 2)),
      ]);

      expect(await state(made)).toMatchObject({ unreachable: 0 });
    }
  });

  test("may be a mebibyte large, and are refused as no update when they are none", async () => {
    const { botId, handle, leadId, state } = await setup();
    const large = { ...changed("kicked", T, 1), text: "x".repeat(1_048_000) };
    await handle(large);
    expect(await state(leadId)).toMatchObject({ unreachable: SendReason.blocked });
    for (const updateJson of ["", "[", `"${"x".repeat(1_048_575)}"`]) {
      expect(await failureOf(world.client.handleUpdate({ botId, updateJson }))).toMatchObject({ reason: 5 });
    }
  });
});

describe("HandleUpdate", () => {
  test("lifts whatever had made a chat unreachable when it writes to the bot", async () => {
    const { handle, leadId, otherLeadId, state } = await setup();
    await world.sql`UPDATE lead SET unreachable = 3 WHERE id IN ${world.sql([Number(leadId), Number(otherLeadId)])}`;

    expect(await handle({ message: { chat, text: "/start" } })).toBe("");

    expect(await state(leadId)).toEqual({ optedOut: false, unreachable: 0 });
    expect(await state(otherLeadId)).toEqual({ optedOut: false, unreachable: 0 });
  });

  test("takes the bot's own webhook secret, and none from who has verified the update", async () => {
    const { botId, handle, leadId, state } = await setup();
    const secret = await world.webhookSecret(botId);
    const blocked = { my_chat_member: { chat, new_chat_member: { status: "kicked" } } };

    expect(await handle(blocked, secret)).toBe("");
    expect(await state(leadId)).toMatchObject({ unreachable: SendReason.blocked });
    expect(await handle({ message: { chat } })).toBe("");
    expect(await state(leadId)).toMatchObject({ unreachable: 0 });
  });

  test("answers alike for a wrong secret and an unknown bot, and changes nothing", async () => {
    const { botId, handle, leadId, state } = await setup();
    const stranger = await world.customer();
    const foreign = await world.webhookSecret(stranger.botId);
    const blocked = { my_chat_member: { chat, new_chat_member: { status: "kicked" } } };

    const unknownBot = await failureOf(handle(blocked, undefined, 999_999n));

    expect(unknownBot).toMatchObject({ reason: 6 });
    expect(await failureOf(handle(blocked, "any", 999_999n))).toEqual(unknownBot);
    for (const secret of ["", "wrong", foreign]) {
      expect(await failureOf(handle(blocked, secret))).toEqual(unknownBot);
    }
    await world.sql`UPDATE bot SET webhook_secret_sealed = NULL WHERE id = ${Number(botId)}`;
    expect(await failureOf(handle(blocked, ""))).toEqual(unknownBot);
    expect(await state(leadId)).toEqual({ optedOut: false, unreachable: 0 });
  });

  test("refuses what is no update, and answers nothing to what does not concern us", async () => {
    const { botId, handle } = await setup();
    const refusal = await failureOf(world.client.handleUpdate({ botId, updateJson: "{broken" }));

    expect(refusal).toMatchObject({ reason: 5, field: "update_json" });
    for (const update of [{}, { edited_message: { chat } }, { my_chat_member: { chat } }, { poll: {} }]) {
      expect(await handle(update)).toBe("");
    }
  });

  test("of one person who taps, blocks and comes back at once ends in a state that one order gives", async () => {
    const { tap, member, campaignId, leadId, state } = await setup();

    await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        i % 2 ? member(i % 4 === 1 ? "kicked" : "member") : tap(unsubscribeData(campaignId)),
      ),
    );

    const { optedOut, unreachable } = (await state(leadId))!;
    expect(optedOut).toBe(true);
    expect([0, SendReason.blocked]).toContain(unreachable);
  });
});
