import { randomBytes } from "node:crypto";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { createClient, createRouterTransport } from "@connectrpc/connect";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { createCampaignRoutes, paidMethods } from "#services/campaign/routes.ts";
import { paidInterceptor } from "#services/entitlement/entitlement.ts";
import { createSecretBox } from "#services/platform/secrets.ts";
import { type AccountRow, insertAccount } from "#test/support/account-rows.ts";
import { createTestDatabase } from "#test/support/postgres.ts";
import { createServiceTransport } from "#test/support/router-transport.ts";

export const token = "1001:first-token";

/** 2026-01-01 and some seconds. */
export const at = (seconds: number) => timestampFromMs(1_767_225_600_000 + seconds * 1000);

/** The service over a database of its own, and what tests need to fill it through the front door. */
export async function createWorld() {
  const { url, sql, database, drop } = await createTestDatabase();
  const secretBox = createSecretBox([{ id: "test", key: randomBytes(32) }]);
  const { asked, delivery } = recordingDelivery();
  const routes = createCampaignRoutes({ sql, db: database.db, secretBox, delivery });
  const client = createClient(
    CampaignService,
    createServiceTransport(routes, [paidInterceptor({ sql, methods: paidMethods })]),
  );

  async function bot(accountId: bigint): Promise<bigint> {
    return (await client.putBot({ bot: { accountId, token, username: "shop_bot" } })).bot!.id;
  }

  /** A customer with a bot and a campaign. */
  async function customer(account: AccountRow = {}) {
    const accountId = BigInt(await insertAccount(sql, account));
    const botId = await bot(accountId);
    const { campaign } = await client.putCampaign({ campaign: { accountId, botId, name: "Spring", code: "SPR" } });
    return { accountId, botId, campaignId: campaign!.id };
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

  return { url, sql, client, secretBox, asked, drop, customer, bot, lead };
}

/** Delivery as campaign sees it: does what it is asked, and keeps what that was. */
function recordingDelivery() {
  const asked: ({ webhookOf: bigint } | { previewTo: bigint; text: string; button: string; link: string })[] = [];
  const transport = createRouterTransport(({ service }) => {
    service(DeliveryService, {
      setWebhook: ({ botId }) => {
        asked.push({ webhookOf: botId });
        return {};
      },
      sendPreview: ({ chatId, text, button, link }) => {
        asked.push({ previewTo: chatId, text, button, link });
        return {};
      },
    });
  });
  return { asked, delivery: createClient(DeliveryService, transport) };
}

export type World = Awaited<ReturnType<typeof createWorld>>;
