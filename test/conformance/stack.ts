/**
 * The whole system in one process: every service wired as its main.ts wires it, behind real ports with real service
 * tokens, on a real Postgres and nats-server, with the sandbox as the Bot API. Only the processes are missing.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { DescService } from "@bufbuild/protobuf";
import { type Client, type ConnectRouter, createClient, type Interceptor } from "@connectrpc/connect";
import type { NatsConnection } from "nats";
import { Registry } from "prom-client";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { createAccountRoutes } from "#services/account/routes.ts";
import { createBackground } from "#services/broadcast/background.ts";
import { sendToMyself } from "#services/broadcast/previews.ts";
import { ProgressMeter } from "#services/broadcast/progress.ts";
import { broadcastRoutes, CUSTOMER_METHODS } from "#services/broadcast/routes.ts";
import { openOptOutMemory } from "#services/campaign/opt-out-memory.ts";
import { createCampaignRoutes, paidMethods } from "#services/campaign/routes.ts";
import { createDatabase, type Database, type Sql } from "#services/core/database/client.ts";
import { paidInterceptor } from "#services/core/entitlement/entitlement.ts";
import type { DatabaseClock } from "#services/core/ledger/database-clock.ts";
import { checkMediaRef } from "#services/core/media/media.ts";
import { connectQueue } from "#services/core/queue/connection.ts";
import { createDelivery, type DeliveryOptions } from "#services/delivery/delivery.ts";
import { createSandbox, type Sandbox } from "#services/local/sandbox/server.ts";
import { type Settings, unlimited } from "#services/local/sandbox/settings.ts";
import { loadRpcTokens } from "#services/local/supervisor/secrets.ts";
import { systemClock } from "#services/platform/clock.ts";
import { createLogger } from "#services/platform/log.ts";
import type { Metrics } from "#services/platform/metrics.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { createRpcServer } from "#services/platform/rpc/server.ts";
import { storableInterceptor } from "#services/platform/rpc/storable.ts";
import { createSecretBox, type SecretBox } from "#services/platform/secrets.ts";
import type { RpcToken } from "#services/platform/variables.ts";
import { temporaryFolder } from "#test/support/folder.ts";
import { createTestNats } from "#test/support/nats.ts";
import { createTestDatabase } from "#test/support/postgres.ts";
import { createGateway, type Gateway } from "../../gateway/app.ts";
import { createClients } from "../../gateway/clients.ts";

export interface StackOptions {
  /** Added to Postgres' clock by everything that looks at it; default 0. */
  offsetMs?: () => number;
  /** Default: a Bot API without limits. */
  sandbox?: Partial<Settings>;
  /** How many of each run side by side; default 1. */
  relays?: number;
  deliveries?: number;
  /** Between a relay's ticks; default as in production. */
  relayTickMs?: number;
  /** A NATS of the test's own; default: one server, started and stopped with the stack. */
  nats?: { url: string; replicas: number };
  /** Default: no pace. */
  delivery?: Pick<DeliveryOptions, "limitOf" | "chatIntervalMs">;
}

export interface Clients {
  account: Client<typeof AccountService>;
  campaign: Client<typeof CampaignService>;
  broadcast: Client<typeof BroadcastService>;
  delivery: Client<typeof DeliveryService>;
}

export interface Stack {
  /** For looking at rows, and for what no RPC does. */
  sql: Sql;
  gateway: Gateway;
  sandbox: Sandbox;
  /** With the gateway's service token: what a customer may do. */
  customer: Clients;
  /** With the token of the platform around us. */
  platform: Clients;
  /** What the services have logged as errors. */
  errors: Record<string, unknown>[];
  serviceBotId: number;
  /** Opens what the services have sealed. */
  secretBox: SecretBox;
  stop(): Promise<void>;
}

const serviceBotId = 7_000_000;
const serviceBotToken = `${serviceBotId}:the-service-bot-of-the-conformance-tests`;
const mediaMessageBytes = 56 * 1024 * 1024;

export async function createStack(options: StackOptions = {}): Promise<Stack> {
  const stops: (() => Promise<unknown>)[] = [];
  try {
    return await assemble(options, stops);
  } catch (error) {
    await stopAll(stops);
    throw error;
  }
}

async function stopAll(stops: (() => Promise<unknown>)[]): Promise<void> {
  for (const stop of stops.splice(0).reverse()) await stop();
}

async function assemble(options: StackOptions, stops: (() => Promise<unknown>)[]): Promise<Stack> {
  const { relays = 1, deliveries = 1, relayTickMs: tickMs } = options;
  const databaseClock: DatabaseClock = { offsetMs: options.offsetMs ?? (() => 0) };
  const [database, nats] = await Promise.all([createTestDatabase(), options.nats ?? createTestNats()]);
  stops.push(database.drop);
  if ("stop" in nats) stops.push(nats.stop);
  const sandbox = createSandbox({ settings: options.sandbox ?? unlimited });
  await sandbox.start();
  stops.push(sandbox.stop);

  const errors: Record<string, unknown>[] = [];
  const log = createLogger({
    service: "conformance",
    destination: { write: (line) => keepError(errors, line) },
  });
  const tokens = loadRpcTokens(join(temporaryFolder("conformance"), "rpc-tokens.json"));
  const openDatabase = (name: string): Database => {
    const handle = createDatabase({ url: database.url, applicationName: name });
    stops.push(handle.close);
    return handle;
  };
  const openQueue = async (): Promise<NatsConnection> => {
    const nc = await connectQueue({ url: nats.url, name: "stack" });
    stops.push(() => nc.close());
    return nc;
  };
  const serve = async (
    service: DescService,
    routes: (router: ConnectRouter) => void,
    interceptors: Interceptor[],
    maxMessageBytes?: number,
  ): Promise<string> => {
    const server = createRpcServer({
      service: service.name,
      host: "127.0.0.1",
      port: 0,
      routes,
      services: [service],
      tokens,
      log,
      interceptors: [...interceptors, storableInterceptor],
      maxMessageBytes,
    });
    await server.start();
    stops.push(server.stop);
    return `http://127.0.0.1:${server.port}`;
  };

  const secretBox = createSecretBox([{ id: "test", key: randomBytes(32) }]);
  const stream = { replicas: options.nats?.replicas ?? 1 };
  const makeDelivery = async (name: string) =>
    createDelivery({
      sql: openDatabase(name).sql,
      nc: await openQueue(),
      stream,
      clock: systemClock,
      databaseClock,
      apiRoot: sandbox.url,
      secretBox,
      serviceBotToken,
      registry: new Registry(),
      log,
      limitOf: () => Number.POSITIVE_INFINITY,
      chatIntervalMs: 0,
      ...options.delivery,
    });
  // The first one also answers previews, as every delivery process does.
  const made = await Promise.all(
    Array.from({ length: Math.max(1, deliveries) }, (_, i) => makeDelivery(`delivery-${i}`)),
  );
  const deliveryUrl = await serve(DeliveryService, made[0]!.routes, []);
  const deliveryFor = (caller: string) =>
    createClient(DeliveryService, createRpcTransport({ baseUrl: deliveryUrl, token: secretOf(tokens, caller) }));

  const account = openDatabase("account");
  const accountUrl = await serve(AccountService, createAccountRoutes(account), []);

  const campaign = openDatabase("campaign");
  const campaignUrl = await serve(
    CampaignService,
    createCampaignRoutes({
      sql: campaign.sql,
      db: campaign.db,
      secretBox,
      memory: await openOptOutMemory(campaign.sql, secretBox),
      delivery: deliveryFor("campaign"),
      onUnread: () => {},
    }),
    [paidInterceptor({ sql: campaign.sql, methods: paidMethods, clock: databaseClock })],
    mediaMessageBytes,
  );

  const { sql } = openDatabase("broadcast");
  const meter = new ProgressMeter({ sql, clock: systemClock, databaseClock });
  const routes = broadcastRoutes({
    sql,
    clock: systemClock,
    databaseClock,
    meter,
    checkMedia: checkMediaRef,
    sendPreview: (accountId, broadcastId) => sendToMyself(sql, deliveryFor("broadcast"), accountId, broadcastId),
  });
  const broadcastUrl = await serve(BroadcastService, routes, [
    paidInterceptor({ sql, methods: CUSTOMER_METHODS, clock: databaseClock }),
  ]);

  for (let i = 0; i < relays; i++) {
    const nc = await openQueue();
    const relaySql = openDatabase(`relay-${i}`).sql;
    const background = await createBackground({
      sql: relaySql,
      nc,
      stream,
      clock: systemClock,
      databaseClock,
      meter,
      log,
      relay: { tickMs },
    });
    background.start();
    stops.push(background.stop);
  }
  for (const delivery of made.slice(0, deliveries)) {
    delivery.start();
    stops.push(delivery.stop);
  }

  const urls = { account: accountUrl, campaign: campaignUrl, broadcast: broadcastUrl, delivery: deliveryUrl };
  const customer = clientsOf(urls, secretOf(tokens, "gateway"));
  return {
    sql: database.sql,
    gateway: createGateway({
      clients: createClients(transportsOf(urls, secretOf(tokens, "gateway"))),
      log,
      publicUrl: "http://leadcast.test",
      metrics: bareMetrics(),
    }),
    sandbox,
    customer,
    secretBox,
    platform: clientsOf(urls, secretOf(tokens, "platform")),
    errors,
    serviceBotId,
    stop: () => stopAll(stops),
  };
}

type Urls = Record<keyof Clients, string>;

function transportsOf(urls: Urls, token: string) {
  const transport = (baseUrl: string) => createRpcTransport({ baseUrl, token });
  return {
    account: transport(urls.account),
    campaign: transport(urls.campaign),
    broadcast: transport(urls.broadcast),
    delivery: transport(urls.delivery),
  };
}

function clientsOf(urls: Urls, token: string): Clients {
  const transports = transportsOf(urls, token);
  return {
    account: createClient(AccountService, transports.account),
    campaign: createClient(CampaignService, transports.campaign),
    broadcast: createClient(BroadcastService, transports.broadcast),
    delivery: createClient(DeliveryService, transports.delivery),
  };
}

function secretOf(tokens: readonly RpcToken[], name: string): string {
  return tokens.find((token) => token.name === name)!.secret;
}

function keepError(errors: Record<string, unknown>[], line: string): void {
  const entry = JSON.parse(line) as Record<string, unknown>;
  if (entry.level === "error" || Number(entry.level) >= 50) errors.push(entry);
}

/** The metrics of the process itself cost 30 ms to set up, and are nobody's here. */
function bareMetrics(): Metrics {
  const registry = new Registry();
  return { registry, observeRpc: () => {}, text: () => registry.metrics(), contentType: registry.contentType };
}
