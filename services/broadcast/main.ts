/** The broadcast service's process: BroadcastService and the relay. */

import { createClient } from "@connectrpc/connect";
import { Type } from "@sinclair/typebox";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { createAuditor } from "#services/audit/refusals.ts";
import { checkDatabase, createDatabase, migrate } from "#services/database/client.ts";
import { pingDatabase } from "#services/database/ping.ts";
import { paidInterceptor } from "#services/entitlement/entitlement.ts";
import { checkMediaRef } from "#services/media/media.ts";
import { systemClock } from "#services/platform/clock.ts";
import { ConfigError, portVar, readConfig, rpcTokensVar, urlVar } from "#services/platform/config.ts";
import { runProcess } from "#services/platform/lifecycle.ts";
import { createLogger } from "#services/platform/log.ts";
import { createMetrics } from "#services/platform/metrics.ts";
import { createRpcTransport } from "#services/platform/rpc-client.ts";
import { createRpcServer } from "#services/platform/rpc-server.ts";
import { storableInterceptor } from "#services/platform/rpc-storable.ts";
import { connectionLimitsVar } from "#services/platform/transport/limits.ts";
import { connectQueue } from "#services/queue/connection.ts";
import { createBackground } from "./background.ts";
import { sendToMyself } from "./previews.ts";
import { ProgressMeter } from "./progress.ts";
import { broadcastRoutes, CUSTOMER_METHODS } from "./routes.ts";

const service = "broadcast";
const log = createLogger({ service });

const Config = Type.Object({
  DATABASE_URL: urlVar(undefined, ["postgres", "postgresql"]),
  /** False behind a pooler in transaction mode that cannot keep prepared statements. */
  DATABASE_PREPARE: Type.Boolean({ default: true }),
  NATS_URL: Type.String({ minLength: 1 }),
  NATS_REPLICAS: Type.Integer({ minimum: 1, maximum: 5, default: 1 }),
  BROADCAST_PORT: portVar(7003),
  CONNECTION_LIMITS: connectionLimitsVar,
  DELIVERY_URL: urlVar("http://localhost:7004", ["http", "https"]),
  RPC_TOKENS: rpcTokensVar,
});

await runProcess({
  service,
  log,
  start: async ({ onStop, announce }) => {
    const config = readConfig(Config);
    const token = config.RPC_TOKENS.find(({ name }) => name === service);
    if (!token) throw new ConfigError([`RPC_TOKENS: no token named "${service}", which calls DeliveryService.`]);
    await migrate(config.DATABASE_URL, (found) => log.warn(found));
    const { sql, close } = createDatabase({
      url: config.DATABASE_URL,
      applicationName: "leadcast-broadcast",
      prepare: config.DATABASE_PREPARE,
    });
    onStop("database", close);
    const problems = await checkDatabase(sql, { requireDurability: false });
    if (problems.length > 0) throw new ConfigError(problems);
    const nc = await connectQueue({ url: config.NATS_URL, name: "leadcast-broadcast" });
    onStop("nats", () => nc.close());
    const meter = new ProgressMeter({ sql, clock: systemClock });
    const delivery = createClient(
      DeliveryService,
      createRpcTransport({ baseUrl: config.DELIVERY_URL, token: token.secret }),
    );
    const auditor = createAuditor({ sql, clock: systemClock, log });
    onStop("audit log", auditor.flush);
    const server = createRpcServer({
      service,
      port: config.BROADCAST_PORT,
      limits: config.CONNECTION_LIMITS,
      routes: broadcastRoutes({
        sql,
        clock: systemClock,
        meter,
        checkMedia: checkMediaRef,
        sendPreview: (accountId, broadcastId) => sendToMyself(sql, delivery, accountId, broadcastId),
      }),
      services: [BroadcastService],
      tokens: config.RPC_TOKENS,
      log,
      observer: auditor,
      interceptors: [paidInterceptor({ sql, methods: CUSTOMER_METHODS }), storableInterceptor],
      metrics: createMetrics(service),
      readyCheck: () => pingDatabase(sql),
    });
    const background = await createBackground({
      sql,
      nc,
      stream: { replicas: config.NATS_REPLICAS },
      clock: systemClock,
      meter,
      log,
    });
    await server.start();
    onStop("server", server.stop);
    background.start();
    onStop("relay", background.stop);
    announce({ port: server.port });
  },
});
