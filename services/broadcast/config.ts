/** What the broadcast service's process reads from its environment. */
import { Type } from "@sinclair/typebox";
import { databaseVariables, wrongWithDatabase } from "#services/core/database/variables.ts";
import { natsVariables, wrongWithQueue } from "#services/core/queue/variables.ts";
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
import { hostVar, httpUrlVar, optionalPortVar, portVar } from "#services/platform/variables.ts";
import { MAX_QUEUED } from "./queue-room.ts";

export const Config = Type.Object({
  ...databaseVariables,
  ...natsVariables,
  BROADCAST_HOST: hostVar(),
  BROADCAST_PORT: portVar(7003),
  BROADCAST_METRICS_HOST: hostVar(),
  BROADCAST_METRICS_PORT: optionalPortVar,
  DELIVERY_URL: httpUrlVar("http://localhost:7004"),
  CONNECTION_LIMITS: connectionLimitsVar,
  ...rpcLoadVars,
  /** A test wants it small; far more than the default makes the ledger's table slow to work on. */
  ACCOUNT_QUEUED_MESSAGES: Type.Integer({ minimum: 1, maximum: 1_000_000_000, default: MAX_QUEUED }),
  ...rpcServerVariables,
  ...rpcClientVariables,
});

export function readBroadcastConfig() {
  return readConfig(Config, process.env, (config, refused) => [
    ...wrongWithDatabase(config),
    ...wrongWithQueue(config, refused),
    ...wrongWithPorts("BROADCAST", config),
    ...wrongWithServerTls("RPC", config),
    ...wrongWithClient("broadcast", config, refused, ["DELIVERY_URL"]),
  ]);
}
