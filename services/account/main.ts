/** The account service's process: AccountService over one database. */
import { Type } from "@sinclair/typebox";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { createAuditor } from "#services/audit/refusals.ts";
import { createDatabase, migrate } from "#services/database/client.ts";
import { pingDatabase } from "#services/database/ping.ts";
import { systemClock } from "#services/platform/clock.ts";
import { portVar, readConfig, rpcTokensVar, urlVar } from "#services/platform/config.ts";
import { runProcess } from "#services/platform/lifecycle.ts";
import { createLogger } from "#services/platform/log.ts";
import { createMetrics } from "#services/platform/metrics.ts";
import { createRpcServer } from "#services/platform/rpc-server.ts";
import { storableInterceptor } from "#services/platform/rpc-storable.ts";
import { connectionLimitsVar } from "#services/platform/transport/limits.ts";
import { createAccountRoutes } from "./routes.ts";
import { SessionUses } from "./session-uses.ts";

const service = "account";
const log = createLogger({ service });

const Config = Type.Object({
  DATABASE_URL: urlVar(undefined, ["postgres", "postgresql"]),
  /** False behind a pooler in transaction mode that cannot keep prepared statements. */
  DATABASE_PREPARE: Type.Boolean({ default: true }),
  ACCOUNT_PORT: portVar(7001),
  CONNECTION_LIMITS: connectionLimitsVar,
  RPC_TOKENS: rpcTokensVar,
});

await runProcess({
  service,
  log,
  start: async ({ onStop, announce }) => {
    const config = readConfig(Config);
    await migrate(config.DATABASE_URL, (found) => log.warn(found));
    const { sql, db, close } = createDatabase({
      url: config.DATABASE_URL,
      applicationName: "leadcast-account",
      prepare: config.DATABASE_PREPARE,
    });
    onStop("database", close);
    const onError = (error: unknown) => log.warn({ err: error }, "when sessions were last used could not be written");
    const uses = new SessionUses({ sql, clock: systemClock, onError });
    onStop("session uses", () => uses.flush());
    const auditor = createAuditor({ sql, clock: systemClock, log });
    onStop("audit log", auditor.flush);
    const server = createRpcServer({
      service,
      port: config.ACCOUNT_PORT,
      limits: config.CONNECTION_LIMITS,
      routes: createAccountRoutes({ sql, db, uses }),
      services: [AccountService],
      tokens: config.RPC_TOKENS,
      log,
      observer: auditor,
      interceptors: [storableInterceptor],
      metrics: createMetrics(service),
      readyCheck: () => pingDatabase(sql),
    });
    await server.start();
    onStop("server", server.stop);
    announce({ port: server.port });
  },
});
