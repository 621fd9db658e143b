import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { TokenState } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { openOptOutMemory } from "#services/campaign/opt-out-memory.ts";
import { rememberOptOuts } from "#services/campaign/remember-opt-outs.ts";
import { DEAD_BUTTON_TEXT, UNSUBSCRIBED_TEXT } from "#services/campaign/update.ts";
import { unsubscribeData } from "#services/core/message/render.ts";
import { ConfigError } from "#services/platform/config.ts";
import { createSecretBox } from "#services/platform/secrets.ts";
import { captureLog } from "#test/platform/captured-log.ts";
import { freshBotToken, otherTokenOf } from "#test/support/bot-token.ts";
import { holdLock } from "#test/support/held-transaction.ts";
import { createTestDatabase } from "#test/support/postgres.ts";
import { failureOf } from "#test/support/rpc-failure.ts";
import { untilBlocked } from "#test/support/until-blocked.ts";
import { at, createWorld, type World } from "./setup.ts";

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.drop());

const chatId = 501n;

async function setup() {
  const customer = await world.customer();
  const { accountId, botId, campaignId } = customer;
  const tap = async ({ bot = botId, campaign = campaignId, chat = chatId } = {}) => {
    const update = {
      update_id: 1,
      callback_query: {
        id: "7",
        from: { id: Number(chat) },
        message: { chat: { id: Number(chat), type: "private" } },
        data: unsubscribeData(campaign),
      },
    };
    const { replyJson } = await world.client.handleUpdate({ botId: bot, updateJson: JSON.stringify(update) });
    return JSON.parse(replyJson).text as string;
  };
  const put = (fields: { chatId?: bigint } = {}) => world.lead(customer, fields);
  const remove = (leadId: bigint) => world.client.deleteLead({ accountId, leadId });
  const optOut = (leadId: bigint) => world.client.optOutLead({ accountId, leadId });
  const lift = (leadId: bigint, atMs: number) =>
    world.client.optOutLead({ accountId, leadId, optedOut: false, changeTime: timestampFromMs(atMs) });
  return { ...customer, tap, put, remove, optOut, lift };
}

async function isOptedOut(leadId: bigint): Promise<boolean> {
  const [row] = await world.sql<{ optedOut: boolean }[]>`
    SELECT opted_out AS "optedOut" FROM lead WHERE id = ${Number(leadId)}`;
  return row!.optedOut;
}

describe("an opt-out", () => {
  test("survives erasure and a new import, whether by a tap or by call", async () => {
    for (const how of ["tap", "call"] as const) {
      const { tap, put, remove, optOut } = await setup();
      const leadId = await put();
      if (how === "tap") expect(await tap()).toBe(UNSUBSCRIBED_TEXT);
      else await optOut(leadId);

      await remove(leadId);
      const again = await put();

      expect(again).not.toBe(leadId);
      expect(await isOptedOut(again)).toBe(true);
      await remove(again);
      expect(await isOptedOut(await put())).toBe(true);
    }
  });

  test("is of one campaign and chat, and of nobody else", async () => {
    const { accountId, botId, tap, put, remove } = await setup();
    const { campaign } = await world.client.putCampaign({ campaign: { accountId, botId } });
    const leadId = await put();
    await tap();
    await remove(leadId);

    expect(await isOptedOut(await put({ chatId: 502n }))).toBe(false);
    expect(await isOptedOut(await world.lead({ accountId, campaignId: campaign!.id }, { chatId }))).toBe(false);
    expect(await isOptedOut(await put())).toBe(true);
  });

  test("counts where there is no lead yet", async () => {
    const { tap, put } = await setup();

    expect(await tap()).toBe(UNSUBSCRIBED_TEXT);

    expect(await isOptedOut(await put())).toBe(true);
  });

  test("counts for a lead that is made at the same moment", async () => {
    const { campaignId, tap, put, botId } = await setup();
    const commit = await holdLock(world.sql, async (tx) => {
      await tx`SELECT pg_advisory_xact_lock_shared(7315003, hashint8(${Number(campaignId)}))`;
      await tx`
        INSERT INTO lead (campaign_id, bot_id, chat_id, status, status_time, created_time)
        VALUES (${Number(campaignId)}, ${Number(botId)}, ${Number(chatId)}, 0, now(), now())`;
    });
    const tapping = tap();
    await untilBlocked(world.sql);
    await commit();
    expect(await tapping).toBe(UNSUBSCRIBED_TEXT);
    expect(await isOptedOut(await put())).toBe(true);

    for (let round = 0; round < 15; round++) {
      const chat = 1_000n + BigInt(round);
      const [leadId] = await Promise.all([put({ chatId: chat }), tap({ chat })]);
      expect(await isOptedOut(leadId)).toBe(true);
    }
  });

  test("leaves neither chat nor campaign in the database once the person is erased", async () => {
    const { put, remove, tap } = await setup();
    const chat = 7_777_777_777_777n;
    const leadId = await put({ chatId: chat });
    await tap({ chat });
    await remove(leadId);

    const tables = await world.sql<{ name: string }[]>`
      SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'`;
    for (const { name } of tables) {
      const found = await world.sql`SELECT FROM ${world.sql(name)} AS t WHERE t::text LIKE ${`%${chat}%`}`;
      expect(`${name}: ${found.length}`).toBe(`${name}: 0`);
    }
  });

  test("is lifted by a call that says when the person asked for it, and not where a later one came in", async () => {
    const { put, tap, lift, remove, accountId } = await setup();
    const leadId = await put();
    const before = Date.now() - 60_000;
    await tap();

    const undated = world.client.optOutLead({ accountId, leadId, optedOut: false });
    expect(await failureOf(undated)).toMatchObject({ reason: 5, field: "change_time" });
    expect((await lift(leadId, before)).optedOut).toBe(true);
    expect(await isOptedOut(leadId)).toBe(true);
    expect((await lift(leadId, Date.now() + 60_000)).optedOut).toBe(false);
    expect(await isOptedOut(leadId)).toBe(false);
    await remove(leadId);
    const again = await put();
    expect(await isOptedOut(again)).toBe(false);
    await tap();
    expect(await isOptedOut(again)).toBe(true);
  });

  test("that is tapped and lifted at the same time stands in the lead as it is remembered", async () => {
    for (let round = 0; round < 15; round++) {
      const { put, tap, lift, remove } = await setup();
      const leadId = await put();
      await tap();

      await Promise.all([lift(leadId, Date.now() + 60_000), tap(), lift(leadId, Date.now() - 60_000)]);

      const standing = await isOptedOut(leadId);
      await remove(leadId);
      expect(await isOptedOut(await put())).toBe(standing);
    }
  });

  test("comes in at a bot that has lost the number, too, and follows the campaign to a number of its own", async () => {
    const { botId, accountId, token, tap, put, remove, campaignId } = await setup();
    const leadId = await put();
    const heir = await world.customer();
    world.tokenStates.set(token, TokenState.DEAD);
    const { bot } = await world.client.putBot({ bot: { accountId: heir.accountId, token: otherTokenOf(token) } });

    // Telegram sends the number's updates to whichever webhook was set last.
    expect(await tap({ bot: bot!.id, campaign: campaignId })).toBe(UNSUBSCRIBED_TEXT);
    expect(await isOptedOut(leadId)).toBe(true);
    expect(await tap({ bot: heir.botId, campaign: campaignId })).toBe(DEAD_BUTTON_TEXT);
    const { campaign } = await world.client.putCampaign({ campaign: { accountId: heir.accountId, botId: bot!.id } });
    expect(await tap({ bot: botId, campaign: campaign!.id, chat: 9n })).toBe(UNSUBSCRIBED_TEXT);

    await remove(leadId);
    await world.client.putBot({ bot: { id: botId, accountId, token: freshBotToken() } });
    expect(await isOptedOut(await put())).toBe(true);
  });

  test("of before opt-outs were remembered is remembered at the start, once, by several starts at once", async () => {
    const { put, campaignId } = await setup();
    const ids = [];
    for (const chat of [1n, 2n, 3n]) ids.push(await put({ chatId: chat }));
    await world.sql`DELETE FROM opt_out`;
    await world.sql`DELETE FROM start_task`;
    await world.sql`UPDATE lead SET opted_out = true WHERE id IN (${Number(ids[0])}, ${Number(ids[2])})`;
    const context = { ...world, log: captureLog().log };

    await Promise.all([rememberOptOuts(context), rememberOptOuts(context), rememberOptOuts(context)]);

    // Erased without our code, as nothing but a restore would.
    await world.sql`DELETE FROM lead WHERE campaign_id = ${Number(campaignId)}`;
    const again = [];
    for (const chat of [1n, 2n, 3n]) again.push(await isOptedOut(await put({ chatId: chat })));
    expect(again).toEqual([true, false, true]);
    await rememberOptOuts(context);
  });

  test("of before opt-outs were remembered survives an erasure that comes before its turn", async () => {
    const { put, remove } = await setup();
    const leadId = await put();
    await world.sql`UPDATE lead SET opted_out = true WHERE id = ${Number(leadId)}`;

    await remove(leadId);

    expect(await isOptedOut(await put())).toBe(true);
  });
});

describe("the id of an erased lead", () => {
  test("is refused for another campaign or chat, and taken for the same person", async () => {
    const { accountId, botId, campaignId, put, remove } = await setup();
    const { campaign } = await world.client.putCampaign({ campaign: { accountId, botId } });
    const leadId = await put();
    await remove(leadId);
    const lead = (id: bigint, chat: bigint) => ({ id, chatId: chat, status: LeadStatus.WAIT, statusTime: at(0) });
    const putAs = (campaignOf: bigint, ...leads: ReturnType<typeof lead>[]) =>
      world.client.putLeads({ accountId, campaignId: campaignOf, leads });

    const fresh = lead(0n, 900n);
    const field = "leads[1].id";
    expect(await failureOf(putAs(campaignId, fresh, lead(leadId, 502n)))).toMatchObject({ reason: 5, field });
    expect(await failureOf(putAs(campaign!.id, fresh, lead(leadId, chatId)))).toMatchObject({ reason: 5, field });
    expect(await world.sql`SELECT FROM lead WHERE campaign_id = ${Number(campaignId)}`).toHaveLength(0);
    expect((await putAs(campaignId, lead(leadId, chatId))).leadIds).toEqual([leadId]);
  });
});

describe("the key of the memory", () => {
  test("is made once, however many starts come at the same time", async () => {
    const { sql, drop } = await createTestDatabase();
    const memories = await Promise.all(Array.from({ length: 8 }, () => openOptOutMemory(sql, world.secretBox)));

    expect(new Set(memories.map((memory) => memory.optOutHash(1, 2, 3))).size).toBe(1);
    await drop();
  });

  test("ends the start where it cannot be opened, or where it is gone and something is remembered", async () => {
    const { sql, drop } = await createTestDatabase();
    await openOptOutMemory(sql, world.secretBox);
    const other = createSecretBox([{ id: "other", key: new Uint8Array(32) }]);

    await expect(openOptOutMemory(sql, other)).rejects.toThrow(ConfigError);
    await expect(openOptOutMemory(sql, other)).rejects.toThrow("SECRET_KEYS");
    await sql`DELETE FROM sealed_secret`;
    await sql`INSERT INTO opt_out (hash) VALUES ('x')`;
    await expect(openOptOutMemory(sql, world.secretBox)).rejects.toThrow("sealed_secret");
    expect(await sql`SELECT FROM sealed_secret`).toHaveLength(0);
    await drop();
  });
});
