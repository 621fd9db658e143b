import { randomBytes } from "node:crypto";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { createClient, createRouterTransport } from "@connectrpc/connect";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { DeliveryService, TokenState } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { openOptOutMemory } from "#services/campaign/opt-out-memory.ts";
import { readNumbers } from "#services/campaign/read-numbers.ts";
import { createCampaignRoutes, paidMethods } from "#services/campaign/routes.ts";
import { StartTasks } from "#services/campaign/start-tasks.ts";
import { TOKEN_CHECK_CONTEXT } from "#services/core/bot/number.ts";
import { paidInterceptor } from "#services/core/entitlement/entitlement.ts";
import { systemClock } from "#services/platform/clock.ts";
import { createSecretBox, type SecretBox } from "#services/platform/secrets.ts";
import { captureLog } from "#test/platform/captured-log.ts";
import { type AccountRow, insertAccount } from "#test/support/account-rows.ts";
import { freshBotToken } from "#test/support/bot-token.ts";
import { createTestDatabase } from "#test/support/postgres.ts";
import { createServiceTransport } from "#test/support/router-transport.ts";

/** 2026-01-01 and some seconds. */
export const at = (seconds: number) => timestampFromMs(1_767_225_600_000 + seconds * 1000);

/** The service over a database of its own, and what tests need to fill it through the front door. */
export async function createWorld() {
  const { url, sql, database, drop } = await createTestDatabase();
  const key = randomBytes(32);
  const secretBox = createSecretBox([{ id: "test", key }]);
  const { asked, delivery, tokenStates } = recordingDelivery(secretBox);
  const memory = await openOptOutMemory(sql, secretBox);
  const { log, records: logged } = captureLog();
  const tasks = new StartTasks({ tasks: [() => readNumbers({ sql, secretBox, log })], clock: systemClock, log });
  const routes = createCampaignRoutes({
    sql,
    db: database.db,
    secretBox,
    memory,
    delivery,
    onUnread: () => tasks.wake(),
  });
  const client = createClient(
    CampaignService,
    createServiceTransport(routes, [paidInterceptor({ sql, methods: paidMethods })]),
  );

  async function bot(accountId: bigint, token = freshBotToken()): Promise<bigint> {
    return (await client.putBot({ bot: { accountId, token, username: "shop_bot" } })).bot!.id;
  }

  /** What Telegram would send with the bot's updates. */
  async function webhookSecret(botId: bigint): Promise<string> {
    const [row] = await sql<{ sealed: string }[]>`
      SELECT webhook_secret_sealed AS sealed FROM bot WHERE id = ${Number(botId)}`;
    return secretBox.decrypt(row!.sealed, `webhook:${botId}`);
  }

  /** A customer with a bot and a campaign. */
  async function customer(account: AccountRow = {}) {
    const accountId = BigInt(await insertAccount(sql, account));
    const token = freshBotToken();
    const botId = await bot(accountId, token);
    const { campaign } = await client.putCampaign({ campaign: { accountId, botId, name: "Spring", code: "SPR" } });
    return { accountId, botId, token, campaignId: campaign!.id };
  }

  /** One lead through PutLeads. @returns its id. */
  async function lead(
    { accountId, campaignId }: { accountId: bigint; campaignId: bigint },
    fields: { chatId?: bigint; status?: LeadStatus; seconds?: number } = {},
  ): Promise<bigint> {
    const { chatId = 501n, status = LeadStatus.WAIT, seconds = 0 } = fields;
    const leads = [{ chatId, status, statusTime: at(seconds) }];
    return (await client.putLeads({ accountId, campaignId, leads })).leadIds[0]!;
  }

  const secretKeys = `test:${key.toString("base64")}`;
  return {
    url,
    sql,
    client,
    secretBox,
    secretKeys,
    memory,
    asked,
    tokenStates,
    tasks,
    logged,
    drop,
    customer,
    bot,
    lead,
    webhookSecret,
  };
}

/** Delivery as campaign sees it: does what it is asked, and keeps what that was. */
function recordingDelivery(secretBox: SecretBox) {
  /** What the Bot API says of tokens; of others that it knows them. */
  const tokenStates = new Map<string, TokenState>();
  const asked: ({ webhookOf: bigint } | { previewTo: bigint; text: string; button: string; link: string })[] = [];
  const transport = createRouterTransport(({ service }) => {
    service(DeliveryService, {
      setWebhook: ({ botId }) => {
        asked.push({ webhookOf: botId });
        return {};
      },
      checkToken: ({ tokenSealed }) => ({
        state: tokenStates.get(secretBox.decrypt(tokenSealed, TOKEN_CHECK_CONTEXT)) ?? TokenState.ALIVE,
      }),
      sendPreview: ({ chatId, text, button, link }) => {
        asked.push({ previewTo: chatId, text, button, link });
        return {};
      },
    });
  });
  return { asked, tokenStates, delivery: createClient(DeliveryService, transport) };
}

export type World = Awaited<ReturnType<typeof createWorld>>;
