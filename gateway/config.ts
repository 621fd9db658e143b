/** What the gateway's process reads from its environment. */
import { Type } from "@sinclair/typebox";
import { trustedProxiesVar } from "#services/platform/client-address.ts";
import { readConfig } from "#services/platform/config.ts";
import {
  rpcClientVariables,
  wrongWithClient,
  wrongWithPorts,
  wrongWithServerTls,
} from "#services/platform/rpc/variables.ts";
import { connectionLimitsVar } from "#services/platform/transport/limits.ts";
import { hostVar, httpUrlVar, optionalPortVar, portVar, rpcTokensVar } from "#services/platform/variables.ts";
import { limitVars } from "./limits.ts";

export const Config = Type.Object({
  GATEWAY_HOST: hostVar(),
  GATEWAY_PORT: portVar(8080),
  GATEWAY_METRICS_HOST: hostVar(),
  GATEWAY_METRICS_PORT: optionalPortVar,
  /** Files: the port's certificate and key, and the authorities of its clients' certificates. Without, cleartext. */
  GATEWAY_TLS_CERT: Type.Optional(Type.String()),
  GATEWAY_TLS_KEY: Type.Optional(Type.String()),
  GATEWAY_TLS_CLIENT_CA: Type.Optional(Type.String()),
  ACCOUNT_URL: httpUrlVar("http://localhost:7001"),
  CAMPAIGN_URL: httpUrlVar("http://localhost:7002"),
  BROADCAST_URL: httpUrlVar("http://localhost:7003"),
  CONNECTION_LIMITS: connectionLimitsVar,
  TRUSTED_PROXIES: trustedProxiesVar,
  ...limitVars,
  PUBLIC_URL: Type.Optional(httpUrlVar()),
  ...rpcClientVariables,
  /** Where RPC_TOKEN is not set: its own entry is looked for here. */
  RPC_TOKENS: Type.Optional(rpcTokensVar),
});

export function readGatewayConfig() {
  return readConfig(Config, process.env, (config, refused) => [
    ...wrongWithPorts("GATEWAY", config),
    ...wrongWithServerTls("GATEWAY", config),
    ...wrongWithClient("gateway", config, refused, ["ACCOUNT_URL", "CAMPAIGN_URL", "BROADCAST_URL"]),
  ]);
}
