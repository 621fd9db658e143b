/** The broadcast service's process: BroadcastService and the relay. */

import { createClient } from "@connectrpc/connect";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { createAuditor } from "#services/core/audit/refusals.ts";
import { checkDatabase, createDatabase } from "#services/core/database/client.ts";
import { pingDatabase } from "#services/core/database/ping.ts";
import { prepareDatabase } from "#services/core/database/start.ts";
import { databaseUrlOf } from "#services/core/database/variables.ts";
import { paidInterceptor } from "#services/core/entitlement/entitlement.ts";
import { checkMediaRef } from "#services/core/media/media.ts";
import { connectQueue, drainWhenLost } from "#services/core/queue/connection.ts";
import { queueAccessOf } from "#services/core/queue/variables.ts";
import { systemClock } from "#services/platform/clock.ts";
import { ConfigError } from "#services/platform/config.ts";
import { runProcess } from "#services/platform/lifecycle.ts";
import { createLogger } from "#services/platform/log.ts";
import { createMetrics } from "#services/platform/metrics.ts";
import { openPorts } from "#services/platform/open-ports.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { rpcLoadFrom } from "#services/platform/rpc/load.ts";
import { createRpcServer } from "#services/platform/rpc/server.ts";
import { storableInterceptor } from "#services/platform/rpc/storable.ts";
import { watchClientTls, watchServerTls } from "#services/platform/rpc/variables.ts";
import { ownSecret } from "#services/platform/variables.ts";
import { createBackground } from "./background.ts";
import { readBroadcastConfig } from "./config.ts";
import { sendToMyself } from "./previews.ts";
import { ProgressMeter } from "./progress.ts";
import { broadcastRoutes, CUSTOMER_METHODS } from "./routes.ts";

const service = "broadcast";
const log = createLogger({ service });

await runProcess({
  service,
  log,
  start: async (context) => {
    const { onStop } = context;
    const config = readBroadcastConfig();
    const tls = watchServerTls("RPC", config, log);
    const callerTls = watchClientTls(config, log);
    const metrics = createMetrics(service);
    const databaseUrl = databaseUrlOf(config);
    await prepareDatabase(databaseUrl, (found) => log.warn(found));
    const { sql, close } = createDatabase({
      url: databaseUrl,
      applicationName: "leadcast-broadcast",
      prepare: config.DATABASE_PREPARE,
    });
    onStop("database", close);
    const problems = await checkDatabase(sql, { requireDurability: false });
    if (problems.length > 0) throw new ConfigError(problems);
    const nc = await connectQueue({
      url: config.NATS_URL,
      name: "leadcast-broadcast",
      access: queueAccessOf(config),
      log,
    });
    drainWhenLost(nc, log);
    onStop("nats", () => nc.close());
    const meter = new ProgressMeter({ sql, clock: systemClock });
    const delivery = createClient(
      DeliveryService,
      createRpcTransport({ baseUrl: config.DELIVERY_URL, token: ownSecret(service, config), tls: callerTls }),
    );
    const auditor = createAuditor({ sql, clock: systemClock, log });
    onStop("audit log", auditor.flush);
    const server = createRpcServer({
      service,
      host: config.BROADCAST_HOST,
      port: config.BROADCAST_PORT,
      tls,
      limits: config.CONNECTION_LIMITS,
      routes: broadcastRoutes({
        sql,
        clock: systemClock,
        meter,
        checkMedia: checkMediaRef,
        maxQueued: config.ACCOUNT_QUEUED_MESSAGES,
        sendPreview: (accountId, broadcastId) => sendToMyself(sql, delivery, accountId, broadcastId),
      }),
      services: [BroadcastService],
      tokens: config.RPC_TOKENS,
      load: rpcLoadFrom(config),
      log,
      observer: auditor,
      interceptors: [paidInterceptor({ sql, methods: CUSTOMER_METHODS }), storableInterceptor],
      metrics,
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
    await openPorts(context, { process: "BROADCAST", config, ...server, tls, metrics, log });
    background.start();
    onStop("relay", background.stop);
  },
});
