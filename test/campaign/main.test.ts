import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { createClient } from "@connectrpc/connect";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { openOptOutMemory } from "#services/campaign/opt-out-memory.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { createSecretBox } from "#services/platform/secrets.ts";
import { insertAccount } from "#test/support/account-rows.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { reasonOf } from "#test/support/rpc-failure.ts";
import { runService, startService } from "#test/support/service-process.ts";
import { at } from "./setup.ts";

const main = "services/campaign/main.ts";
const secret = "platform-secret-0001";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

describe("the campaign process", () => {
  test("serves the platform and customers, and drains on SIGTERM", async () => {
    const service = await startService(main, {
      DATABASE_URL: database.url,
      CAMPAIGN_PORT: "0",
      RPC_TOKENS: JSON.stringify([
        { name: "platform", secret, allow: ["*"] },
        { name: "campaign", secret: `${secret}-of-campaign`, allow: [] },
      ]),
      SECRET_KEYS: `k1:${randomBytes(32).toString("base64")}`,
    });
    const transport = createRpcTransport({ baseUrl: `http://127.0.0.1:${service.port}`, token: secret });
    const client = createClient(CampaignService, transport);
    const accountId = BigInt(await insertAccount(database.sql));
    const lapsed = BigInt(await insertAccount(database.sql, { paid: false }));

    const { bot } = await client.putBot({ bot: { accountId, token: "1001:abc" } });
    const { campaign } = await client.putCampaign({ campaign: { accountId, botId: bot!.id } });
    // As large as a call can be: every lead with the longest values.
    const long = "я".repeat(255);
    const leads = Array.from({ length: 10_000 }, (_, index) => ({
      chatId: BigInt(index + 1),
      status: 1,
      statusTime: at(index),
      click: long,
      user: long,
      subscriber: long,
    }));
    const { leadIds } = await client.putLeads({ accountId, campaignId: campaign!.id, leads });

    expect(leadIds).toHaveLength(10_000);
    expect((await client.listCampaigns({ accountId })).campaigns).toEqual([campaign!]);
    expect(await reasonOf(client.listCampaigns({ accountId: lapsed }))).toBe("UNPAID");
    expect(await service.stop()).toBe(0);
  });

  test("does not start without keys to seal tokens with", async () => {
    const { exitCode, stderr } = await runService(main, { DATABASE_URL: database.url, SECRET_KEYS: "k1:short" });

    expect(exitCode).not.toBe(0);
    for (const name of ["SECRET_KEYS", "RPC_TOKENS"]) expect(stderr).toContain(name);
  });

  test("does not start with keys that cannot open who has unsubscribed: nobody may be forgotten", async () => {
    const own = await createTestDatabase();
    await openOptOutMemory(own.sql, createSecretBox([{ id: "first", key: randomBytes(32) }]));

    const { exitCode, stderr } = await runService(main, {
      DATABASE_URL: own.url,
      CAMPAIGN_PORT: "0",
      RPC_TOKENS: JSON.stringify([{ name: "campaign", secret: `${secret}-of-campaign`, allow: [] }]),
      SECRET_KEYS: `second:${randomBytes(32).toString("base64")}`,
    });

    expect(exitCode).toBe(78);
    expect(stderr).toContain("SECRET_KEYS: the memory of opt-outs cannot be opened");
    await own.drop();
  });
});
