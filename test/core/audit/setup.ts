/** The four services on one database, each behind a real server in this process, with the audit log as their processes have it. */
import type { DescService } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type ConnectRouter, createClient, type Transport } from "@connectrpc/connect";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { CampaignState } from "#gen/leadcast/campaign/v1/campaign_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { createAccountRoutes } from "#services/account/routes.ts";
import { sendToMyself } from "#services/broadcast/previews.ts";
import { ProgressMeter } from "#services/broadcast/progress.ts";
import { broadcastRoutes } from "#services/broadcast/routes.ts";
import { openOptOutMemory } from "#services/campaign/opt-out-memory.ts";
import { createCampaignRoutes } from "#services/campaign/routes.ts";
import { type Auditor, createAuditor } from "#services/core/audit/refusals.ts";
import { checkMediaRef } from "#services/core/media/media.ts";
import { connectQueue } from "#services/core/queue/connection.ts";
import { ensureStream } from "#services/core/queue/streams.ts";
import { botTokenContext } from "#services/delivery/delivery.ts";
import { deliveryRoutes } from "#services/delivery/routes.ts";
import { createBotApi } from "#services/delivery/telegram.ts";
import { systemClock } from "#services/platform/clock.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { clientAddressHeader, clientSessionHeader } from "#services/platform/rpc/context.ts";
import { createRpcServer, type RpcServer } from "#services/platform/rpc/server.ts";
import { webhookSecretContext } from "#services/platform/secret-contexts.ts";
import { createSecretBox } from "#services/platform/secrets.ts";
import { startSandbox } from "#test/local/sandbox/support.ts";
import { captureLog } from "#test/platform/captured-log.ts";
import { createTestNats } from "#test/support/nats.ts";
import { createTestDatabase } from "#test/support/postgres.ts";

export const services = [AccountService, CampaignService, BroadcastService, DeliveryService] as const;

export const address = "203.0.113.7";
export const session = "0123456789abcdef";

const tokens = ["platform", "gateway", "campaign", "broadcast"].map((name) => ({
  name,
  secret: `${name}-secret-of-the-tests`,
  allow: ["*"],
}));
const narrow = {
  name: "narrow",
  secret: "narrow-secret-of-the-tests",
  allow: ["leadcast.account.v1.AccountService/GetAccount"],
};

const oldKey = { id: "0", key: new Uint8Array(32).fill(6) };
const secretBox = createSecretBox([{ id: "1", key: new Uint8Array(32).fill(7) }, oldKey]);

/** With the headers that the gateway sends for a customer. */
function transportTo(server: RpcServer, token: string): Transport {
  const transport = createRpcTransport({
    baseUrl: `http://127.0.0.1:${server.port}`,
    token: `${token}-secret-of-the-tests`,
  });
  const headers = { [clientAddressHeader]: address, [clientSessionHeader]: session };
  return {
    ...transport,
    unary: (method, signal, timeoutMs, header, ...rest) =>
      transport.unary(method, signal, timeoutMs, { ...Object.fromEntries(new Headers(header)), ...headers }, ...rest),
  };
}

export async function setup() {
  const [database, nats, sandbox] = await Promise.all([createTestDatabase(), createTestNats(), startSandbox()]);
  const { sql, database: own } = database;
  const nc = await connectQueue({ url: nats.url, name: "audit" });
  const jsm = await nc.jetstreamManager();
  const stream = { replicas: 1 };
  await ensureStream(jsm, stream);
  const log = captureLog();
  const servers: RpcServer[] = [];
  const auditors: Auditor[] = [];

  async function serve(service: DescService, routes: (router: ConnectRouter) => void): Promise<RpcServer> {
    const observer = createAuditor({ sql, clock: systemClock, log: log.log });
    const all = [...tokens, narrow];
    const options = {
      service: service.name,
      host: "127.0.0.1",
      port: 0,
      services: [service],
      tokens: all,
      log: log.log,
    };
    const server = createRpcServer({ ...options, routes, observer, maxMessageBytes: 8 * 1024 * 1024 });
    await server.start();
    servers.push(server);
    auditors.push(observer);
    return server;
  }

  const delivery = await serve(
    DeliveryService,
    deliveryRoutes({
      sql,
      api: createBotApi({ apiRoot: sandbox.sandbox.url, timeoutMs: 5_000 }),
      serviceBotToken: "7000999:token-of-the-service-bot-in-tests",
      clock: systemClock,
      secretBox,
      openToken: (botId, sealed) => secretBox.decrypt(sealed, botTokenContext(botId)),
      openSecret: (botId, sealed) => secretBox.decrypt(sealed, webhookSecretContext(botId)),
      publicUrl: "http://127.0.0.1:1",
      jsm,
      stream,
    }),
  );
  const deliveryOf = (token: string) => createClient(DeliveryService, transportTo(delivery, token));
  const account = await serve(AccountService, createAccountRoutes(own));
  const campaign = await serve(
    CampaignService,
    createCampaignRoutes({
      sql,
      db: own.db,
      secretBox,
      memory: await openOptOutMemory(sql, secretBox),
      delivery: deliveryOf("campaign"),
      onUnread: () => {},
    }),
  );
  const broadcast = await serve(
    BroadcastService,
    broadcastRoutes({
      sql,
      clock: systemClock,
      meter: new ProgressMeter({ sql, clock: systemClock }),
      checkMedia: checkMediaRef,
      sendPreview: (accountId, id) => sendToMyself(sql, deliveryOf("broadcast"), accountId, id),
    }),
  );

  function clientsOf(token: string) {
    return {
      account: createClient(AccountService, transportTo(account, token)),
      campaign: createClient(CampaignService, transportTo(campaign, token)),
      broadcast: createClient(BroadcastService, transportTo(broadcast, token)),
      delivery: deliveryOf(token),
    };
  }

  return {
    sql,
    log,
    sandbox: sandbox.sandbox,
    /** Seals with the key that is being replaced. */
    oldBox: createSecretBox([oldKey]),
    clientsOf,
    gateway: clientsOf("gateway"),
    platform: clientsOf("platform"),
    /** Every row of the audit log, in order; the last refusals too. */
    entries: async () => {
      await Promise.all(auditors.map((auditor) => auditor.flush()));
      return await sql<EntryRow[]>`
        SELECT call, token, session, address, account_id AS "accountId", object_kind AS kind, object_id AS object, outcome,
          calls, changes FROM audit_entry ORDER BY at, id, slot`;
    },
    forget: async () => void (await sql`DELETE FROM audit_entry`),
    [Symbol.asyncDispose]: async () => {
      await Promise.all(servers.map((server) => server.stop()));
      await nc.close();
      await Promise.all([nats.stop(), sandbox.sandbox.stop()]);
      await database.drop();
    },
  };
}

export interface EntryRow {
  call: string;
  token: string;
  session: string;
  address: string | null;
  accountId: number | null;
  kind: string;
  object: string;
  outcome: string;
  calls: number;
  changes: number;
}

export type World = Awaited<ReturnType<typeof setup>>;
export type Clients = ReturnType<World["clientsOf"]>;

export const chatId = 987_654_321n;

/** A customer with a bot, a campaign, a lead and a broadcast with a text. */
export async function createCustomer({ platform }: World) {
  const { account, campaign, broadcast } = platform;
  const { tariff } = await account.putTariff({ tariff: { name: "Pro", broadcasts: true } });
  const paidUntilTime = timestampFromMs(Date.now() + 3_600_000);
  const { account: made } = await account.putAccount({
    account: { name: "Ada", tariffId: tariff!.id, paidUntilTime, telegramChatId: 42n },
  });
  const accountId = made!.id;
  const number = 7_000_000n + accountId;
  const token = `${number}:token-of-a-bot-in-the-tests`;
  const { bot } = await campaign.putBot({ bot: { accountId, token, username: "ada_bot" } });
  const { campaign: put } = await campaign.putCampaign({
    campaign: { accountId, botId: bot!.id, name: "One", code: "ONE", state: CampaignState.LIVE },
  });
  const campaignId = put!.id;
  const lead = (chat: bigint, ms = 1_000) => ({
    chatId: chat,
    status: LeadStatus.WAIT,
    statusTime: timestampFromMs(ms),
  });
  const { leadIds } = await campaign.putLeads({ accountId, campaignId, leads: [lead(chatId)] });
  const { broadcastId } = await broadcast.createBroadcast({ accountId, name: "Sale" });
  const statuses = [LeadStatus.WAIT];
  await broadcast.updateBroadcast({
    accountId,
    broadcastId,
    name: "Sale",
    body: { text: "Hello" },
    audience: { statuses },
  });
  return { accountId, tariffId: tariff!.id, botId: bot!.id, token, campaignId, leadId: leadIds[0]!, lead, broadcastId };
}

export type Customer = Awaited<ReturnType<typeof createCustomer>>;
