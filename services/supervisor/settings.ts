import { join, resolve } from "node:path";
import { type Static, Type } from "@sinclair/typebox";
import {
  ConfigError,
  portVar,
  type RpcToken,
  readConfig,
  rpcTokensVar,
  secretKeysVar,
  urlVar,
} from "#services/platform/config.ts";

/** Every process that has a port, in the order of starting. */
export const portNames = ["sandbox", "account", "campaign", "broadcast", "delivery", "gateway"] as const;
export type PortName = (typeof portNames)[number];

export function portVariable<N extends PortName>(name: N): `${Uppercase<N>}_PORT` {
  return `${name.toUpperCase() as Uppercase<N>}_PORT`;
}

const schema = Type.Object({
  LEADCAST_DATA: Type.String({ default: ".data" }),
  DATABASE_URL: Type.Optional(urlVar(undefined, ["postgres", "postgresql"])),
  NATS_URL: Type.Optional(Type.String()),
  TELEGRAM_API_ROOT: Type.Optional(urlVar(undefined, ["http", "https"])),
  RPC_TOKENS: Type.Optional(rpcTokensVar),
  SECRET_KEYS: Type.Optional(secretKeysVar),
  SANDBOX_PORT: portVar(7010),
  ACCOUNT_PORT: portVar(7001),
  CAMPAIGN_PORT: portVar(7002),
  BROADCAST_PORT: portVar(7003),
  DELIVERY_PORT: portVar(7004),
  GATEWAY_PORT: portVar(8080),
});

/** What `npm start` was asked for. Values that it only passes on to the processes stay in their environment. */
export interface Settings {
  /** Absolute. */
  readonly folder: string;
  readonly databaseUrl: string | undefined;
  readonly natsUrl: string | undefined;
  readonly telegramApiRoot: string | undefined;
  /** Given, so not generated. */
  readonly rpcTokens: readonly RpcToken[] | undefined;
  readonly hasSecretKeys: boolean;
  /** 0 asks for a free one. */
  readonly ports: Readonly<Record<PortName, number>>;
  /** What the processes inherit where the supervisor does not decide. */
  readonly environment: Readonly<Record<string, string>>;
}

/** @throws ConfigError that names every bad variable together. */
export function readSettings(env: Record<string, string | undefined>, root: string): Settings {
  const problems = [...sharedPorts(env), ...missingSecrets(env)];
  const config = readWith(problems, env);
  const ports = Object.fromEntries(portNames.map((name) => [name, config[portVariable(name)]])) as Record<
    PortName,
    number
  >;
  return {
    folder: resolve(root, config.LEADCAST_DATA),
    databaseUrl: config.DATABASE_URL,
    natsUrl: config.NATS_URL,
    telegramApiRoot: config.TELEGRAM_API_ROOT,
    rpcTokens: config.RPC_TOKENS,
    hasSecretKeys: config.SECRET_KEYS !== undefined,
    ports,
    environment: Object.fromEntries(
      Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== ""),
    ),
  };
}

/** Reads the variables one by one, and adds what is wrong with them together. */
function readWith(problems: string[], env: Record<string, string | undefined>): Readonly<Static<typeof schema>> {
  try {
    const config = readConfig(schema, env);
    if (problems.length === 0) return config;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.unshift(...error.problems);
  }
  throw new ConfigError(problems);
}

function sharedPorts(env: Record<string, string | undefined>): string[] {
  const used = portNames.filter((name) => name !== "sandbox" || !env.TELEGRAM_API_ROOT);
  const portOf = (name: PortName) => Number(env[portVariable(name)] || schema.properties[portVariable(name)].default);
  return used.flatMap((name, index) => {
    const other = used.slice(0, index).find((earlier) => portOf(earlier) === portOf(name) && portOf(name) !== 0);
    return other === undefined ? [] : [`${portVariable(name)}: ${portOf(name)} is also ${portVariable(other)}`];
  });
}

/** Secrets made up beside somebody's own database would be lost with the folder, and its bots' tokens with them. */
function missingSecrets(env: Record<string, string | undefined>): string[] {
  if (!env.DATABASE_URL) return [];
  return (["RPC_TOKENS", "SECRET_KEYS"] as const)
    .filter((name) => !env[name])
    .map((name) => `${name}: is not set; it is generated only for the embedded database, so DATABASE_URL needs it`);
}

/** Where things are kept below the data folder. */
export function dataPaths(folder: string) {
  return {
    postgres: join(folder, "postgres"),
    nats: join(folder, "nats"),
    tools: join(folder, "tools"),
    log: (name: string) => join(folder, "logs", `${name}.log`),
    rpcTokens: join(folder, "rpc-tokens.json"),
    secretKeys: join(folder, "secret-keys"),
    session: join(folder, "session"),
    // Beside the data it speaks of, so that it goes when they go.
    seeded: join(folder, "postgres", "seeded"),
    sandbox: join(folder, "sandbox.json"),
    running: join(folder, "running.json"),
  };
}
