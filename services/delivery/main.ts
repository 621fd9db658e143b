/** The delivery service's process: JetStream in, the Bot API out, and the only one to call it. */
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { createAuditor } from "#services/core/audit/refusals.ts";
import { checkDatabase, createDatabase } from "#services/core/database/client.ts";
import { pingDatabase } from "#services/core/database/ping.ts";
import { prepareDatabase } from "#services/core/database/start.ts";
import { databaseUrlOf } from "#services/core/database/variables.ts";
import { connectQueue, drainWhenLost } from "#services/core/queue/connection.ts";
import { queueAccessOf } from "#services/core/queue/variables.ts";
import { systemClock } from "#services/platform/clock.ts";
import { ConfigError } from "#services/platform/config.ts";
import { runProcess } from "#services/platform/lifecycle.ts";
import { createLogger } from "#services/platform/log.ts";
import { createMetrics } from "#services/platform/metrics.ts";
import { openPorts } from "#services/platform/open-ports.ts";
import { rpcLoadFrom } from "#services/platform/rpc/load.ts";
import { createRpcServer } from "#services/platform/rpc/server.ts";
import { storableInterceptor } from "#services/platform/rpc/storable.ts";
import { watchServerTls } from "#services/platform/rpc/variables.ts";
import { createSecretBox } from "#services/platform/secrets.ts";
import { readDeliveryConfig } from "./config.ts";
import { createDelivery } from "./delivery.ts";

const service = "delivery";
const log = createLogger({ service });

/** Every statement of delivery's is short: behind a pooler, where nobody can ask Postgres, silence this long is a fault. */
const PATIENCE_MS = 30_000;

/** The longest request, the pace's last second, and time to settle. */
const STOP_DEADLINE_MS = 75_000;

await runProcess({
  service,
  log,
  start: async (context) => {
    const { onStop } = context;
    const config = readDeliveryConfig();
    const tls = watchServerTls("RPC", config, log);
    const databaseUrl = databaseUrlOf(config);
    await prepareDatabase(databaseUrl, (found) => log.warn(found));
    const { sql, close } = createDatabase({
      url: databaseUrl,
      applicationName: "leadcast-delivery",
      prepare: config.DATABASE_PREPARE,
      patienceMs: PATIENCE_MS,
    });
    onStop("database", close);
    const problems = await checkDatabase(sql, { requireDurability: !config.ALLOW_UNSAFE_DATABASE });
    if (problems.length > 0) throw new ConfigError(problems);
    const nc = await connectQueue({
      url: config.NATS_URL,
      name: "leadcast-delivery",
      access: queueAccessOf(config),
      log,
    });
    drainWhenLost(nc, log);
    onStop("nats", () => nc.close());
    const metrics = createMetrics(service);
    const delivery = await createDelivery({
      sql,
      nc,
      stream: { replicas: config.NATS_REPLICAS },
      clock: systemClock,
      apiRoot: config.TELEGRAM_API_ROOT,
      secretBox: createSecretBox(config.SECRET_KEYS),
      serviceBotToken: config.SERVICE_BOT_TOKEN,
      publicUrl: config.PUBLIC_URL,
      registry: metrics.registry,
      log,
    });
    const auditor = createAuditor({ sql, clock: systemClock, log });
    onStop("audit log", auditor.flush);
    const server = createRpcServer({
      service,
      host: config.DELIVERY_HOST,
      port: config.DELIVERY_PORT,
      tls,
      limits: config.CONNECTION_LIMITS,
      routes: delivery.routes,
      services: [DeliveryService],
      tokens: config.RPC_TOKENS,
      load: rpcLoadFrom(config),
      log,
      observer: auditor,
      interceptors: [storableInterceptor],
      metrics,
      readyCheck: () => pingDatabase(sql),
    });
    await openPorts(context, { process: "DELIVERY", config, ...server, tls, metrics, log });
    delivery.start();
    // An upload on the wire may take a minute; nothing is cut short.
    onStop("delivery", delivery.stop, { deadlineMs: STOP_DEADLINE_MS });
  },
});
