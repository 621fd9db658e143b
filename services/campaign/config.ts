/** What the campaign service's process reads from its environment. */
import { Type } from "@sinclair/typebox";
import { databaseVariables, wrongWithDatabase } from "#services/core/database/variables.ts";
import { readConfig } from "#services/platform/config.ts";
import { rpcLoadVars } from "#services/platform/rpc/load.ts";
import {
  rpcClientVariables,
  rpcServerVariables,
  wrongWithClient,
  wrongWithPorts,
  wrongWithServerTls,
} from "#services/platform/rpc/variables.ts";
import { connectionLimitsVar } from "#services/platform/transport/limits.ts";
import { hostVar, httpUrlVar, optionalPortVar, portVar, secretKeysVar } from "#services/platform/variables.ts";

export const Config = Type.Object({
  ...databaseVariables,
  CAMPAIGN_HOST: hostVar(),
  CAMPAIGN_PORT: portVar(7002),
  CAMPAIGN_METRICS_HOST: hostVar(),
  CAMPAIGN_METRICS_PORT: optionalPortVar,
  DELIVERY_URL: httpUrlVar("http://localhost:7004"),
  CONNECTION_LIMITS: connectionLimitsVar,
  ...rpcLoadVars,
  ...rpcServerVariables,
  ...rpcClientVariables,
  SECRET_KEYS: secretKeysVar,
});

export function readCampaignConfig() {
  return readConfig(Config, process.env, (config, refused) => [
    ...wrongWithDatabase(config),
    ...wrongWithPorts("CAMPAIGN", config),
    ...wrongWithServerTls("RPC", config),
    ...wrongWithClient("campaign", config, refused, ["DELIVERY_URL"]),
  ]);
}
