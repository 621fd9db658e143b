import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { CampaignState } from "#gen/leadcast/campaign/v1/campaign_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { shareCampaignLock } from "#services/campaign/campaign-lock.ts";
import { insertAccount } from "#test/support/account-rows.ts";
import { failureOf, reasonOf } from "#test/support/rpc-failure.ts";
import { untilBlocked } from "#test/support/until-blocked.ts";
import { at, createWorld, type World } from "./setup.ts";

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.drop());

describe("PutCampaign", () => {
  test("is live unless told otherwise, and replaces by id", async () => {
    const { accountId, botId, campaignId: id } = await world.customer();

    const wanted = { id, accountId, botId, name: "Autumn", code: "AUT", trackedChatId: -100_123n };
    const { campaign } = await world.client.putCampaign({ campaign: wanted });

    expect(campaign).toMatchObject({ ...wanted, state: CampaignState.LIVE });
    const { campaigns } = await world.client.listCampaigns({ accountId });
    expect(campaigns).toEqual([campaign!]);
  });

  test("takes only a bot of the same account, and answers alike for a foreign and an absent one", async () => {
    const { accountId } = await world.customer();
    const foreign = await world.customer();

    const answers = await Promise.all(
      [foreign.botId, 999_999n].map((botId) => failureOf(world.client.putCampaign({ campaign: { accountId, botId } }))),
    );

    expect(answers[0]).toEqual(answers[1]!);
    expect(answers[0]).toMatchObject({ reason: 6 });
  });

  test("never moves a campaign to another account", async () => {
    const { campaignId: id } = await world.customer();
    const { accountId, botId } = await world.customer();

    expect(await reasonOf(world.client.putCampaign({ campaign: { id, accountId, botId } }))).toBe("NOT_YOURS");
  });

  test("keeps the bot of a campaign that has leads", async () => {
    const customer = await world.customer();
    const { accountId, campaignId: id } = customer;
    const other = await world.bot(accountId);
    await world.client.putCampaign({ campaign: { id, accountId, botId: other } });
    await world.lead(customer);

    const moved = world.client.putCampaign({ campaign: { id, accountId, botId: customer.botId } });
    expect(await reasonOf(moved)).toBe("WRONG_STATE");
    await world.client.putCampaign({ campaign: { id, accountId, botId: other, name: "Renamed" } });
  });

  test("either sees the first lead or gives it the new bot, however the calls interleave", async () => {
    for (let round = 0; round < 15; round++) {
      const customer = await world.customer();
      const { accountId, campaignId: id } = customer;
      const botId = await world.bot(accountId);

      const moving = world.client.putCampaign({ campaign: { id, accountId, botId } }).catch(() => undefined);
      await Promise.all([moving, world.lead(customer)]);

      const rows = await world.sql`
        SELECT FROM lead l JOIN campaign c ON c.id = l.campaign_id
        WHERE c.id = ${Number(id)} AND l.bot_id <> c.bot_id`;
      expect(rows.length).toBe(0);
    }
  });

  test("waits for leads that are being put before it decides", async () => {
    const customer = await world.customer();
    const { accountId, campaignId: id } = customer;
    const botId = await world.bot(accountId);
    const { promise: mayCommit, resolve: commit } = Promise.withResolvers<void>();
    const { promise: written, resolve: hasWritten } = Promise.withResolvers<void>();
    const putting = world.sql.begin(async (tx) => {
      await shareCampaignLock(tx, Number(id));
      await tx`INSERT INTO lead (campaign_id, bot_id, chat_id, status, status_time, created_time)
        VALUES (${Number(id)}, ${Number(customer.botId)}, 1, 0, now(), now())`;
      hasWritten();
      await mayCommit;
    });
    await written;

    const moving = reasonOf(world.client.putCampaign({ campaign: { id, accountId, botId } }));
    await untilBlocked(world.sql);
    commit();
    await putting;

    expect(await moving).toBe("WRONG_STATE");
  });
});

describe("ListCampaigns", () => {
  test("lists the account's campaigns, newest first, without deleted ones", async () => {
    const { accountId, botId, campaignId } = await world.customer();
    const put = async (state: CampaignState) =>
      (await world.client.putCampaign({ campaign: { accountId, botId, state } })).campaign!.id;
    const paused = await put(CampaignState.PAUSED);
    const deleted = await put(CampaignState.DELETED);
    await put(CampaignState.LIVE).then((id) =>
      world.client.putCampaign({ campaign: { id, accountId, botId, state: CampaignState.DELETED } }),
    );

    const { campaigns } = await world.client.listCampaigns({ accountId });

    expect(campaigns.map((campaign) => campaign.id)).toEqual([paused, campaignId]);
    expect(deleted).toBeGreaterThan(paused);
  });
});

describe("a customer's call", () => {
  test("needs a paid account, and the platform's calls do not", async () => {
    const customer = await world.customer({ paid: false });
    const { accountId, campaignId } = customer;

    expect(await reasonOf(world.client.listCampaigns({ accountId }))).toBe("UNPAID");
    expect(await reasonOf(world.client.listBlocks({ accountId, campaignId }))).toBe("UNPAID");
    // Payment comes before parameters.
    expect(await reasonOf(world.client.saveBlock({ accountId }))).toBe("UNPAID");
    const leadId = await world.lead(customer);
    await world.client.setLeadStatus({ accountId, leadId, status: LeadStatus.TRASH, statusTime: at(9) });
  });

  test("of an account that does not exist gives NOT_YOURS", async () => {
    expect(await reasonOf(world.client.listCampaigns({ accountId: 999_999n }))).toBe("NOT_YOURS");
  });
});

describe("an id of a campaign", () => {
  test("that is foreign, absent or deleted gives one answer everywhere and changes nothing", async () => {
    const foreign = await world.customer();
    const gone = await world.customer();
    await world.client.putCampaign({
      campaign: { id: gone.campaignId, accountId: gone.accountId, botId: gone.botId, state: CampaignState.DELETED },
    });
    const stranger = BigInt(await insertAccount(world.sql));
    const cases = [
      { accountId: stranger, campaignId: foreign.campaignId },
      { accountId: stranger, campaignId: 999_999n },
      { accountId: gone.accountId, campaignId: gone.campaignId },
    ];
    const leads = [{ chatId: 5n, status: LeadStatus.WAIT, statusTime: at(0) }];

    for (const call of [
      (ids: (typeof cases)[0]) => world.client.listBlocks(ids),
      (ids: (typeof cases)[0]) => world.client.saveBlock({ ...ids, status: LeadStatus.WAIT, text: "x" }),
      (ids: (typeof cases)[0]) => world.client.putLeads({ ...ids, leads }),
    ]) {
      const answers = await Promise.all(cases.map((ids) => failureOf(call(ids))));
      expect(answers[0]).toMatchObject({ reason: 6 });
      expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    }
    const ids = [foreign.campaignId, gone.campaignId].map(Number);
    expect(await world.sql`SELECT FROM block WHERE campaign_id = ANY(${ids})`).toHaveLength(0);
    expect(await world.sql`SELECT FROM lead WHERE campaign_id = ANY(${ids})`).toHaveLength(0);
  });
});
