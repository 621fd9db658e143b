/** The campaign service's process: CampaignService over one database. */

import { createClient } from "@connectrpc/connect";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { createAuditor } from "#services/core/audit/refusals.ts";
import { createDatabase } from "#services/core/database/client.ts";
import { pingDatabase } from "#services/core/database/ping.ts";
import { prepareDatabase } from "#services/core/database/start.ts";
import { databaseUrlOf } from "#services/core/database/variables.ts";
import { paidInterceptor } from "#services/core/entitlement/entitlement.ts";
import { systemClock } from "#services/platform/clock.ts";
import { runProcess } from "#services/platform/lifecycle.ts";
import { createLogger } from "#services/platform/log.ts";
import { createMetrics } from "#services/platform/metrics.ts";
import { openPorts } from "#services/platform/open-ports.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { rpcLoadFrom } from "#services/platform/rpc/load.ts";
import { createRpcServer } from "#services/platform/rpc/server.ts";
import { storableInterceptor } from "#services/platform/rpc/storable.ts";
import { watchClientTls, watchServerTls } from "#services/platform/rpc/variables.ts";
import { createSecretBox } from "#services/platform/secrets.ts";
import { ownSecret } from "#services/platform/variables.ts";
import { readCampaignConfig } from "./config.ts";
import { openOptOutMemory } from "./opt-out-memory.ts";
import { readNumbers } from "./read-numbers.ts";
import { rememberOptOuts } from "./remember-opt-outs.ts";
import { createCampaignRoutes, paidMethods, uploadMethods } from "./routes.ts";
import { StartTasks } from "./start-tasks.ts";
import { sealPlainSecrets } from "./webhook-secret.ts";

const service = "campaign";
const log = createLogger({ service });

/** A video of 50 MB and what stands around it; 10,000 leads with all their values are smaller. */
const maxMessageBytes = 56 * 1024 * 1024;

await runProcess({
  service,
  log,
  start: async (context) => {
    const { onStop } = context;
    const config = readCampaignConfig();
    const tls = watchServerTls("RPC", config, log);
    const callerTls = watchClientTls(config, log);
    const metrics = createMetrics(service);
    const transport = createRpcTransport({
      baseUrl: config.DELIVERY_URL,
      token: ownSecret(service, config),
      tls: callerTls,
    });
    const delivery = createClient(DeliveryService, transport);
    const databaseUrl = databaseUrlOf(config);
    await prepareDatabase(databaseUrl, (found) => log.warn(found));
    const { sql, db, close } = createDatabase({
      url: databaseUrl,
      applicationName: "leadcast-campaign",
      prepare: config.DATABASE_PREPARE,
    });
    onStop("database", close);
    const secretBox = createSecretBox(config.SECRET_KEYS);
    // First: with keys that do not open what is there nothing may be sealed.
    const memory = await openOptOutMemory(sql, secretBox);
    await sealPlainSecrets(sql, secretBox);
    const auditor = createAuditor({ sql, clock: systemClock, log });
    onStop("audit log", auditor.flush);
    const tasks = new StartTasks({
      // Opt-outs are remembered under numbers.
      tasks: [() => readNumbers({ sql, secretBox, log }), () => rememberOptOuts({ sql, secretBox, memory, log })],
      clock: systemClock,
      log,
    });
    const server = createRpcServer({
      service,
      host: config.CAMPAIGN_HOST,
      port: config.CAMPAIGN_PORT,
      tls,
      limits: config.CONNECTION_LIMITS,
      routes: createCampaignRoutes({ sql, db, secretBox, memory, delivery, onUnread: () => tasks.wake() }),
      services: [CampaignService],
      tokens: config.RPC_TOKENS,
      load: rpcLoadFrom(config),
      log,
      observer: auditor,
      interceptors: [paidInterceptor({ sql, methods: paidMethods }), storableInterceptor],
      metrics,
      readyCheck: () => pingDatabase(sql),
      maxMessageBytes,
      ownTurns: uploadMethods,
    });
    await openPorts(context, { process: "CAMPAIGN", config, ...server, tls, metrics, log });
    tasks.wake();
    onStop("start tasks", () => tasks.stop());
  },
});
