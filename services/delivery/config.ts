/** What the delivery service's process reads from its environment. */
import { Type } from "@sinclair/typebox";
import { databaseVariables, wrongWithDatabase } from "#services/core/database/variables.ts";
import { natsVariables, wrongWithQueue } from "#services/core/queue/variables.ts";
import { readConfig } from "#services/platform/config.ts";
import { rpcLoadVars } from "#services/platform/rpc/load.ts";
import { rpcServerVariables, wrongWithPorts, wrongWithServerTls } from "#services/platform/rpc/variables.ts";
import { connectionLimitsVar } from "#services/platform/transport/limits.ts";
import {
  hostVar,
  httpUrlVar,
  optionalPortVar,
  portVar,
  secretKeysVar,
  secretVar,
} from "#services/platform/variables.ts";

export const Config = Type.Object({
  ...databaseVariables,
  ...natsVariables,
  TELEGRAM_API_ROOT: httpUrlVar(),
  DELIVERY_HOST: hostVar(),
  DELIVERY_PORT: portVar(7004),
  DELIVERY_METRICS_HOST: hostVar(),
  DELIVERY_METRICS_PORT: optionalPortVar,
  CONNECTION_LIMITS: connectionLimitsVar,
  ...rpcLoadVars,
  ...rpcServerVariables,
  SECRET_KEYS: secretKeysVar,
  PUBLIC_URL: Type.Optional(httpUrlVar()),
  SERVICE_BOT_TOKEN: secretVar,
  /** For throw-away databases only: start although a crash of Postgres could lose what was sent. */
  ALLOW_UNSAFE_DATABASE: Type.Boolean({ default: false }),
});

export function readDeliveryConfig() {
  return readConfig(Config, process.env, (config, refused) => [
    ...wrongWithDatabase(config),
    ...wrongWithQueue(config, refused),
    ...wrongWithPorts("DELIVERY", config),
    ...wrongWithServerTls("RPC", config),
  ]);
}
