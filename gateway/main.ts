import { Type } from "@sinclair/typebox";
import { trustedProxiesVar } from "#services/platform/client-address.ts";
import { ConfigError, portVar, type RpcToken, readConfig, rpcTokensVar, urlVar } from "#services/platform/config.ts";
import { runProcess } from "#services/platform/lifecycle.ts";
import { createLogger } from "#services/platform/log.ts";
import { createRpcTransport } from "#services/platform/rpc-client.ts";
import { connectionLimitsVar } from "#services/platform/transport/limits.ts";
import { createGateway } from "./app.ts";
import { createClients } from "./clients.ts";
import { limitsFrom, limitVars } from "./limits.ts";
import { serveGateway } from "./server.ts";

const Environment = Type.Object({
  GATEWAY_PORT: portVar(8080),
  CONNECTION_LIMITS: connectionLimitsVar,
  ACCOUNT_URL: urlVar("http://localhost:7001", ["http", "https"]),
  CAMPAIGN_URL: urlVar("http://localhost:7002", ["http", "https"]),
  BROADCAST_URL: urlVar("http://localhost:7003", ["http", "https"]),
  TRUSTED_PROXIES: trustedProxiesVar,
  ...limitVars,
  PUBLIC_URL: Type.Optional(urlVar(undefined, ["http", "https"])),
  RPC_TOKENS: rpcTokensVar,
});

/** The gateway's own secret among the named tokens. */
function ownSecret(tokens: readonly RpcToken[]): string {
  const own = tokens.find(({ name }) => name === "gateway");
  if (own === undefined) throw new ConfigError(["RPC_TOKENS: has no token named gateway"]);
  return own.secret;
}

const log = createLogger({ service: "gateway" });

await runProcess({
  service: "gateway",
  log,
  start: async ({ onStop, announce }) => {
    const config = readConfig(Environment);
    const token = ownSecret(config.RPC_TOKENS);
    const clients = createClients({
      account: createRpcTransport({ baseUrl: config.ACCOUNT_URL, token }),
      campaign: createRpcTransport({ baseUrl: config.CAMPAIGN_URL, token }),
      broadcast: createRpcTransport({ baseUrl: config.BROADCAST_URL, token }),
    });
    const gateway = createGateway({
      clients,
      log,
      publicUrl: config.PUBLIC_URL,
      trustedProxies: config.TRUSTED_PROXIES,
      limits: limitsFrom(config),
    });
    const server = await serveGateway({ gateway, port: config.GATEWAY_PORT, log, limits: config.CONNECTION_LIMITS });
    onStop("http", () => server.stop());
    announce({ port: server.port });
  },
});
