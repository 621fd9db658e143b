import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createClient } from "@connectrpc/connect";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { openOptOutMemory } from "#services/campaign/opt-out-memory.ts";
import { createCampaignRoutes } from "#services/campaign/routes.ts";
import { sealPlainSecrets } from "#services/campaign/webhook-secret.ts";
import { setWebhook } from "#services/delivery/webhooks.ts";
import { createSecretBox } from "#services/platform/secrets.ts";
import { freshBotToken } from "#test/support/bot-token.ts";
import { insertAccount } from "../support/account-rows.ts";
import { createTestDatabase, type TestDatabase } from "../support/postgres.ts";
import { createServiceTransport } from "../support/router-transport.ts";
import { reasonOf } from "../support/rpc-failure.ts";

const secretBox = createSecretBox([{ id: "1", key: new Uint8Array(32).fill(7) }]);
const openSecret = (botId: number, sealed: string) => secretBox.decrypt(sealed, `webhook:${botId}`);

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

/** Campaign and delivery's webhooks with a Telegram that keeps what it was told, and may be away. */
async function setup() {
  const { sql } = database;
  const telegram = { secret: "", told: 0, away: false, before: async () => {} };
  const setAtTelegram = async (_token: string, _url: string, secret: string) => {
    await telegram.before();
    if (telegram.away) return { answer: "none" };
    telegram.secret = secret;
    telegram.told++;
    return { answer: "ok", result: true };
  };
  const options = {
    sql,
    api: { setWebhook: setAtTelegram } as never,
    openToken: () => "t",
    openSecret,
    publicUrl: "http://p",
  };
  const delivery = createClient(
    DeliveryService,
    createServiceTransport(({ service }) => {
      service(DeliveryService, {
        setWebhook: async ({ botId }) => {
          await setWebhook(options, Number(botId));
          return {};
        },
      });
    }),
  );
  const memory = await openOptOutMemory(sql, secretBox);
  const { db } = database.database;
  const routes = createCampaignRoutes({ sql, db, secretBox, memory, delivery, onUnread: () => {} });
  const client = createClient(CampaignService, createServiceTransport(routes));
  const accountId = BigInt(await insertAccount(sql));
  const { bot } = await client.putBot({ bot: { accountId, token: freshBotToken() }, setWebhook: true });
  const ref = { accountId, botId: bot!.id };
  const update = JSON.stringify({ update_id: 1 });
  const counts = (webhookSecret: string) =>
    client.handleUpdate({ botId: ref.botId, updateJson: update, webhookSecret }).then(
      () => true,
      () => false,
    );
  const rotate = () => client.rotateWebhookSecret(ref);
  const expireFormer = () =>
    sql`UPDATE bot SET webhook_former_until = webhook_former_until - interval '11 minutes' WHERE id = ${Number(ref.botId)}`;
  return { sql, telegram, client, ref, counts, rotate, expireFormer, options };
}

describe("a webhook's secret", () => {
  test("is replaced at Telegram; the former one counts for ten minutes more", async () => {
    const { telegram, counts, rotate, expireFormer } = await setup();
    const former = telegram.secret;
    expect(await counts(former)).toBe(true);

    await rotate();

    expect(telegram.secret).not.toBe(former);
    expect([await counts(telegram.secret), await counts(former), await counts("guess")]).toEqual([true, true, false]);
    await expireFormer();
    expect([await counts(telegram.secret), await counts(former)]).toEqual([true, false]);
  });

  test("of before counts for as long as Telegram has not taken the new one, however often that is tried", async () => {
    const { telegram, counts, rotate, expireFormer } = await setup();
    const former = telegram.secret;
    telegram.away = true;
    for (let n = 0; n < 3; n++) expect(await reasonOf(rotate())).toBe("UNAVAILABLE");
    await expireFormer();
    expect(await counts(former)).toBe(true);

    telegram.away = false;
    await rotate();
    expect([await counts(telegram.secret), await counts(former)]).toEqual([true, true]);
    await expireFormer();
    expect([await counts(telegram.secret), await counts(former)]).toEqual([true, false]);
  });

  test("is finished by PutBot where the rotation was broken off", async () => {
    const { telegram, client, ref, counts, rotate, expireFormer } = await setup();
    const former = telegram.secret;
    telegram.away = true;
    await rotate().catch(() => {});
    telegram.away = false;

    await client.putBot({ bot: { id: ref.botId, accountId: ref.accountId }, setWebhook: true });

    await expireFormer();
    expect([await counts(telegram.secret), await counts(former)]).toEqual([true, false]);
  });

  test("is in the end the stored one at Telegram, where a rotation overtakes another call", async () => {
    const { telegram, rotate, counts, expireFormer, options, ref } = await setup();
    const late = Promise.withResolvers<void>();
    const atTelegram = Promise.withResolvers<void>();
    telegram.before = () => {
      telegram.before = async () => {};
      atTelegram.resolve();
      return late.promise;
    };
    const slow = setWebhook(options, Number(ref.botId));
    await atTelegram.promise;
    await rotate();
    late.resolve();
    await slow;

    await expireFormer();
    expect(await counts(telegram.secret)).toBe(true);
  });

  test("is another account's bot's alone, and nowhere in the database as it is", async () => {
    const { sql, telegram, client, ref } = await setup();
    const stranger = BigInt(await insertAccount(sql));
    const told = telegram.told;

    expect(await reasonOf(client.rotateWebhookSecret({ accountId: stranger, botId: ref.botId }))).toBe("NOT_YOURS");

    expect(telegram.told).toBe(told);
    const rows = await sql`SELECT * FROM bot WHERE id = ${Number(ref.botId)}`;
    expect(JSON.stringify(rows)).not.toContain(telegram.secret);
  });

  test("that was stored as it is counts before and after it is sealed", async () => {
    const { sql, counts, ref, rotate, expireFormer } = await setup();
    const old = "a-secret-of-before";
    await sql`
      UPDATE bot SET webhook_secret = ${old}, webhook_secret_sealed = NULL WHERE id = ${Number(ref.botId)}`;
    expect(await counts(old)).toBe(true);

    const sealed = await Promise.all([sealPlainSecrets(sql, secretBox), sealPlainSecrets(sql, secretBox)]);

    expect(Math.max(...sealed)).toBe(1);
    expect(await counts(old)).toBe(true);
    expect(JSON.stringify(await sql`SELECT * FROM bot WHERE id = ${Number(ref.botId)}`)).not.toContain(old);
    await rotate();
    expect(await counts(old)).toBe(true);
    await expireFormer();
    expect(await counts(old)).toBe(false);
  });

  test("that cannot be opened makes Telegram come again, and refuses nobody", async () => {
    const { sql, telegram, client, ref, counts } = await setup();
    await sql`UPDATE bot SET webhook_secret_sealed = 'v1:gone:AAAA' WHERE id = ${Number(ref.botId)}`;

    expect(await counts(telegram.secret)).toBe(false);
    const call = client.handleUpdate({ botId: ref.botId, updateJson: "{}", webhookSecret: telegram.secret });
    expect(await reasonOf(call)).toBe("UNAVAILABLE");
  });
});
