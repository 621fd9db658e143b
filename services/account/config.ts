/** What the account service's process reads from its environment. */
import { Type } from "@sinclair/typebox";
import { databaseVariables, wrongWithDatabase } from "#services/core/database/variables.ts";
import { readConfig } from "#services/platform/config.ts";
import { rpcLoadVars } from "#services/platform/rpc/load.ts";
import { rpcServerVariables, wrongWithPorts, wrongWithServerTls } from "#services/platform/rpc/variables.ts";
import { connectionLimitsVar } from "#services/platform/transport/limits.ts";
import { hostVar, optionalPortVar, portVar } from "#services/platform/variables.ts";

export const Config = Type.Object({
  ...databaseVariables,
  ACCOUNT_HOST: hostVar(),
  ACCOUNT_PORT: portVar(7001),
  ACCOUNT_METRICS_HOST: hostVar(),
  ACCOUNT_METRICS_PORT: optionalPortVar,
  CONNECTION_LIMITS: connectionLimitsVar,
  ...rpcLoadVars,
  ...rpcServerVariables,
});

export function readAccountConfig() {
  return readConfig(Config, process.env, (config) => [
    ...wrongWithDatabase(config),
    ...wrongWithPorts("ACCOUNT", config),
    ...wrongWithServerTls("RPC", config),
  ]);
}
