/** The campaign service's process: CampaignService over one database. */

import { createClient } from "@connectrpc/connect";
import { Type } from "@sinclair/typebox";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { createAuditor } from "#services/audit/refusals.ts";
import { createDatabase, migrate } from "#services/database/client.ts";
import { pingDatabase } from "#services/database/ping.ts";
import { paidInterceptor } from "#services/entitlement/entitlement.ts";
import { systemClock } from "#services/platform/clock.ts";
import { ConfigError, portVar, readConfig, rpcTokensVar, secretKeysVar, urlVar } from "#services/platform/config.ts";
import { runProcess } from "#services/platform/lifecycle.ts";
import { createLogger } from "#services/platform/log.ts";
import { createMetrics } from "#services/platform/metrics.ts";
import { createRpcTransport } from "#services/platform/rpc-client.ts";
import { createRpcServer } from "#services/platform/rpc-server.ts";
import { storableInterceptor } from "#services/platform/rpc-storable.ts";
import { createSecretBox } from "#services/platform/secrets.ts";
import { connectionLimitsVar } from "#services/platform/transport/limits.ts";
import { readNumbers } from "./read-numbers.ts";
import { createCampaignRoutes, paidMethods } from "./routes.ts";
import { StartTasks } from "./start-tasks.ts";

const service = "campaign";
const log = createLogger({ service });

const Config = Type.Object({
  DATABASE_URL: urlVar(undefined, ["postgres", "postgresql"]),
  /** False behind a pooler in transaction mode that cannot keep prepared statements. */
  DATABASE_PREPARE: Type.Boolean({ default: true }),
  CAMPAIGN_PORT: portVar(7002),
  CONNECTION_LIMITS: connectionLimitsVar,
  DELIVERY_URL: urlVar("http://localhost:7004", ["http", "https"]),
  RPC_TOKENS: rpcTokensVar,
  SECRET_KEYS: secretKeysVar,
});

/** A video of 50 MB and what stands around it; 10,000 leads with all their values are smaller. */
const maxMessageBytes = 56 * 1024 * 1024;

await runProcess({
  service,
  log,
  start: async ({ onStop, announce }) => {
    const config = readConfig(Config);
    const token = config.RPC_TOKENS.find(({ name }) => name === service);
    if (!token) throw new ConfigError([`RPC_TOKENS: no token named "${service}", which calls DeliveryService.`]);
    const transport = createRpcTransport({ baseUrl: config.DELIVERY_URL, token: token.secret });
    const delivery = createClient(DeliveryService, transport);
    await migrate(config.DATABASE_URL, (found) => log.warn(found));
    const { sql, db, close } = createDatabase({
      url: config.DATABASE_URL,
      applicationName: "leadcast-campaign",
      prepare: config.DATABASE_PREPARE,
    });
    onStop("database", close);
    const auditor = createAuditor({ sql, clock: systemClock, log });
    onStop("audit log", auditor.flush);
    const secretBox = createSecretBox(config.SECRET_KEYS);
    const tasks = new StartTasks({ tasks: [() => readNumbers({ sql, secretBox, log })], clock: systemClock, log });
    const server = createRpcServer({
      service,
      port: config.CAMPAIGN_PORT,
      limits: config.CONNECTION_LIMITS,
      routes: createCampaignRoutes({ sql, db, secretBox, delivery, onUnread: () => tasks.wake() }),
      services: [CampaignService],
      tokens: config.RPC_TOKENS,
      log,
      observer: auditor,
      interceptors: [paidInterceptor({ sql, methods: paidMethods }), storableInterceptor],
      metrics: createMetrics(service),
      readyCheck: () => pingDatabase(sql),
      maxMessageBytes,
    });
    await server.start();
    tasks.wake();
    onStop("start tasks", () => tasks.stop());
    onStop("server", server.stop);
    announce({ port: server.port });
  },
});
