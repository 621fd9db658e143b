/** The account service's process: AccountService over one database. */
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { createAuditor } from "#services/core/audit/refusals.ts";
import { createDatabase } from "#services/core/database/client.ts";
import { pingDatabase } from "#services/core/database/ping.ts";
import { prepareDatabase } from "#services/core/database/start.ts";
import { databaseUrlOf } from "#services/core/database/variables.ts";
import { systemClock } from "#services/platform/clock.ts";
import { runProcess } from "#services/platform/lifecycle.ts";
import { createLogger } from "#services/platform/log.ts";
import { createMetrics } from "#services/platform/metrics.ts";
import { openPorts } from "#services/platform/open-ports.ts";
import { rpcLoadFrom } from "#services/platform/rpc/load.ts";
import { createRpcServer } from "#services/platform/rpc/server.ts";
import { storableInterceptor } from "#services/platform/rpc/storable.ts";
import { watchServerTls } from "#services/platform/rpc/variables.ts";
import { readAccountConfig } from "./config.ts";
import { createAccountRoutes } from "./routes.ts";
import { SessionUses } from "./session-uses.ts";

const service = "account";
const log = createLogger({ service });

await runProcess({
  service,
  log,
  start: async (context) => {
    const { onStop } = context;
    const config = readAccountConfig();
    const tls = watchServerTls("RPC", config, log);
    const metrics = createMetrics(service);
    const databaseUrl = databaseUrlOf(config);
    await prepareDatabase(databaseUrl, (found) => log.warn(found));
    const { sql, db, close } = createDatabase({
      url: databaseUrl,
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
      host: config.ACCOUNT_HOST,
      port: config.ACCOUNT_PORT,
      tls,
      limits: config.CONNECTION_LIMITS,
      routes: createAccountRoutes({ sql, db, uses }),
      services: [AccountService],
      tokens: config.RPC_TOKENS,
      load: rpcLoadFrom(config),
      log,
      observer: auditor,
      interceptors: [storableInterceptor],
      metrics,
      readyCheck: () => pingDatabase(sql),
    });
    await openPorts(context, { process: "ACCOUNT", config, ...server, tls, metrics, log });
  },
});
