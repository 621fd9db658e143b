/** The delivery service's process: JetStream in, the Bot API out, and the only one to call it. */
import { Type } from "@sinclair/typebox";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { createAuditor } from "#services/audit/refusals.ts";
import { checkDatabase, createDatabase, migrate } from "#services/database/client.ts";
import { pingDatabase } from "#services/database/ping.ts";
import { systemClock } from "#services/platform/clock.ts";
import { ConfigError, portVar, readConfig, rpcTokensVar, secretKeysVar, urlVar } from "#services/platform/config.ts";
import { runProcess } from "#services/platform/lifecycle.ts";
import { createLogger } from "#services/platform/log.ts";
import { createMetrics } from "#services/platform/metrics.ts";
import { createRpcServer } from "#services/platform/rpc-server.ts";
import { storableInterceptor } from "#services/platform/rpc-storable.ts";
import { createSecretBox } from "#services/platform/secrets.ts";
import { connectionLimitsVar } from "#services/platform/transport/limits.ts";
import { connectQueue } from "#services/queue/connection.ts";
import { createDelivery } from "./delivery.ts";

const service = "delivery";
const log = createLogger({ service });

const Config = Type.Object({
  DATABASE_URL: urlVar(undefined, ["postgres", "postgresql"]),
  /** False behind a pooler in transaction mode that cannot keep prepared statements. */
  DATABASE_PREPARE: Type.Boolean({ default: true }),
  NATS_URL: Type.String({ minLength: 1 }),
  NATS_REPLICAS: Type.Integer({ minimum: 1, maximum: 5, default: 1 }),
  TELEGRAM_API_ROOT: urlVar(undefined, ["http", "https"]),
  DELIVERY_PORT: portVar(7004),
  CONNECTION_LIMITS: connectionLimitsVar,
  RPC_TOKENS: rpcTokensVar,
  SECRET_KEYS: secretKeysVar,
  PUBLIC_URL: Type.Optional(urlVar(undefined, ["http", "https"])),
  SERVICE_BOT_TOKEN: Type.String({ minLength: 1 }),
  /** For throw-away databases only: start although a crash of Postgres could lose what was sent. */
  ALLOW_UNSAFE_DATABASE: Type.Boolean({ default: false }),
});

/** Every statement of delivery's is short: behind a pooler, where nobody can ask Postgres, silence this long is a fault. */
const PATIENCE_MS = 30_000;

/** The longest request, the pace's last second, and time to settle. */
const STOP_DEADLINE_MS = 75_000;

await runProcess({
  service,
  log,
  start: async ({ onStop, announce }) => {
    const config = readConfig(Config);
    await migrate(config.DATABASE_URL, (found) => log.warn(found));
    const { sql, close } = createDatabase({
      url: config.DATABASE_URL,
      applicationName: "leadcast-delivery",
      prepare: config.DATABASE_PREPARE,
      patienceMs: PATIENCE_MS,
    });
    onStop("database", close);
    const problems = await checkDatabase(sql, { requireDurability: !config.ALLOW_UNSAFE_DATABASE });
    if (problems.length > 0) throw new ConfigError(problems);
    const nc = await connectQueue({ url: config.NATS_URL, name: "leadcast-delivery" });
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
      port: config.DELIVERY_PORT,
      limits: config.CONNECTION_LIMITS,
      routes: delivery.routes,
      services: [DeliveryService],
      tokens: config.RPC_TOKENS,
      log,
      observer: auditor,
      interceptors: [storableInterceptor],
      metrics,
      readyCheck: () => pingDatabase(sql),
    });
    await server.start();
    onStop("server", server.stop);
    delivery.start();
    // An upload on the wire may take a minute; nothing is cut short.
    onStop("delivery", delivery.stop, { deadlineMs: STOP_DEADLINE_MS });
    announce({ port: server.port });
  },
});
