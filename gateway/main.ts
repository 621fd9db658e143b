import { runProcess } from "#services/platform/lifecycle.ts";
import { createLogger } from "#services/platform/log.ts";
import { createMetrics } from "#services/platform/metrics.ts";
import { openPorts } from "#services/platform/open-ports.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { watchClientTls, watchServerTls } from "#services/platform/rpc/variables.ts";
import { ownSecret } from "#services/platform/variables.ts";
import { createGateway } from "./app.ts";
import { createClients } from "./clients.ts";
import { readGatewayConfig } from "./config.ts";
import { limitsFrom } from "./limits.ts";
import { serveGateway } from "./server.ts";

const log = createLogger({ service: "gateway" });

await runProcess({
  service: "gateway",
  log,
  start: async (context) => {
    const config = readGatewayConfig();
    const metrics = createMetrics("gateway");
    const tls = watchServerTls("GATEWAY", config, log);
    const caller = { token: ownSecret("gateway", config), tls: watchClientTls(config, log) };
    const clients = createClients({
      account: createRpcTransport({ baseUrl: config.ACCOUNT_URL, ...caller }),
      campaign: createRpcTransport({ baseUrl: config.CAMPAIGN_URL, ...caller }),
      broadcast: createRpcTransport({ baseUrl: config.BROADCAST_URL, ...caller }),
    });
    const gateway = createGateway({
      clients,
      log,
      publicUrl: config.PUBLIC_URL,
      metrics,
      trustedProxies: config.TRUSTED_PROXIES,
      limits: limitsFrom(config),
    });
    const open = () =>
      serveGateway({
        gateway,
        host: config.GATEWAY_HOST,
        port: config.GATEWAY_PORT,
        tls,
        log,
        limits: config.CONNECTION_LIMITS,
      });
    await openPorts(context, { process: "GATEWAY", config, open, isReady: async () => true, tls, metrics, log });
  },
});
