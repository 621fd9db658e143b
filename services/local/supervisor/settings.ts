import { join, resolve } from "node:path";
import { type Static, Type } from "@sinclair/typebox";
import { databaseUrlVar } from "#services/core/database/variables.ts";
import { natsUrlVar } from "#services/core/queue/variables.ts";
import { readConfig } from "#services/platform/config.ts";
import {
  rpcClientVariables,
  rpcServerVariables,
  wrongWithCallerFiles,
  wrongWithServerTls,
} from "#services/platform/rpc/variables.ts";
import {
  hostVar,
  httpUrlVar,
  optionalPortVar,
  portVar,
  type RpcEntry,
  rpcTokensVar,
  secretKeysVar,
} from "#services/platform/variables.ts";
import { callers } from "./secrets.ts";

/** Our own processes, in the order of starting. */
export const serviceNames = ["account", "campaign", "broadcast", "delivery", "gateway"] as const;
export type ServiceName = (typeof serviceNames)[number];
/** Every process that has a port. */
export const portNames = ["sandbox", ...serviceNames] as const;
export type PortName = (typeof portNames)[number];

export function portVariable<N extends PortName>(name: N): `${Uppercase<N>}_PORT` {
  return `${name.toUpperCase() as Uppercase<N>}_PORT`;
}

export function metricsPortVariable<N extends ServiceName>(name: N): `${Uppercase<N>}_METRICS_PORT` {
  return `${name.toUpperCase() as Uppercase<N>}_METRICS_PORT`;
}

const { RPC_TLS_CERT, RPC_TLS_KEY, RPC_TLS_CLIENT_CA } = rpcServerVariables;
const { RPC_TLS_CA, RPC_TLS_CLIENT_CERT, RPC_TLS_CLIENT_KEY } = rpcClientVariables;

export const settingsSchema = Type.Object({
  LEADCAST_DATA: Type.String({ default: ".data" }),
  DATABASE_URL: Type.Optional(databaseUrlVar),
  NATS_URL: Type.Optional(natsUrlVar),
  TELEGRAM_API_ROOT: Type.Optional(httpUrlVar()),
  RPC_TOKENS: Type.Optional(rpcTokensVar),
  SECRET_KEYS: Type.Optional(secretKeysVar),
  RPC_TLS_CERT,
  RPC_TLS_KEY,
  RPC_TLS_CLIENT_CA,
  RPC_TLS_CA,
  RPC_TLS_CLIENT_CERT,
  RPC_TLS_CLIENT_KEY,
  GATEWAY_TLS_CERT: Type.Optional(Type.String()),
  GATEWAY_TLS_KEY: Type.Optional(Type.String()),
  GATEWAY_TLS_CLIENT_CA: Type.Optional(Type.String()),
  SANDBOX_HOST: hostVar(),
  SANDBOX_PORT: portVar(7010),
  ACCOUNT_HOST: hostVar(),
  ACCOUNT_PORT: portVar(7001),
  ACCOUNT_METRICS_HOST: hostVar(),
  ACCOUNT_METRICS_PORT: optionalPortVar,
  CAMPAIGN_HOST: hostVar(),
  CAMPAIGN_PORT: portVar(7002),
  CAMPAIGN_METRICS_HOST: hostVar(),
  CAMPAIGN_METRICS_PORT: optionalPortVar,
  BROADCAST_HOST: hostVar(),
  BROADCAST_PORT: portVar(7003),
  BROADCAST_METRICS_HOST: hostVar(),
  BROADCAST_METRICS_PORT: optionalPortVar,
  DELIVERY_HOST: hostVar(),
  DELIVERY_PORT: portVar(7004),
  DELIVERY_METRICS_HOST: hostVar(),
  DELIVERY_METRICS_PORT: optionalPortVar,
  GATEWAY_HOST: hostVar(),
  GATEWAY_PORT: portVar(8080),
  GATEWAY_METRICS_HOST: hostVar(),
  GATEWAY_METRICS_PORT: optionalPortVar,
});

type SettingsConfig = Readonly<Static<typeof settingsSchema>>;

/** What `npm start` was asked for. Values that it only passes on to the processes stay in their environment. */
export interface Settings {
  /** Absolute. */
  readonly folder: string;
  readonly databaseUrl: string | undefined;
  readonly natsUrl: string | undefined;
  readonly telegramApiRoot: string | undefined;
  /** Given, so not generated. */
  readonly rpcTokens: readonly RpcEntry[] | undefined;
  readonly hasSecretKeys: boolean;
  readonly hosts: Readonly<Record<PortName, string>>;
  /** 0 asks for a free one. */
  readonly ports: Readonly<Record<PortName, number>>;
  /** Where metrics are; undefined asks for the usual port, or a free one. */
  readonly metricsHosts: Readonly<Record<ServiceName, string>>;
  readonly metricsPorts: Readonly<Record<ServiceName, number | undefined>>;
  /** Of the four services, and of the gateway. */
  readonly schemes: Readonly<{ rpc: "http" | "https"; gateway: "http" | "https" }>;
  /** What `npm start` itself shows to the services, and whom it trusts. */
  readonly callerFiles: Readonly<Record<string, string | undefined>>;
  /** What the processes inherit where the supervisor does not decide. */
  readonly environment: Readonly<Record<string, string>>;
}

/** @throws ConfigError that names every bad variable together. */
export function readSettings(env: Record<string, string | undefined>, root: string): Settings {
  const config = readConfig(settingsSchema, env, (read) => [
    ...sharedPorts(read),
    ...missingSecrets(env),
    ...missingCallers(read.RPC_TOKENS),
    ...wrongWithServerTls("RPC", read),
    ...wrongWithServerTls("GATEWAY", read),
    ...wrongWithCallerFiles(read),
    ...unshownCertificate(read),
  ]);
  return settingsOf(config, env, root);
}

function settingsOf(config: SettingsConfig, env: Record<string, string | undefined>, root: string): Settings {
  const { RPC_TLS_CA: ca, RPC_TLS_CLIENT_CERT: cert, RPC_TLS_CLIENT_KEY: key } = config;
  const upper = <N extends PortName>(name: N) => name.toUpperCase() as Uppercase<N>;
  return {
    folder: resolve(root, config.LEADCAST_DATA),
    databaseUrl: config.DATABASE_URL,
    natsUrl: config.NATS_URL,
    telegramApiRoot: config.TELEGRAM_API_ROOT,
    rpcTokens: config.RPC_TOKENS,
    hasSecretKeys: config.SECRET_KEYS !== undefined,
    hosts: byName(portNames, (name) => config[`${upper(name)}_HOST`]),
    ports: byName(portNames, (name) => config[portVariable(name)]),
    metricsHosts: byName(serviceNames, (name) => config[`${upper(name)}_METRICS_HOST`]),
    metricsPorts: byName(serviceNames, (name) => config[metricsPortVariable(name)]),
    schemes: {
      rpc: config.RPC_TLS_CERT === undefined ? "http" : "https",
      gateway: config.GATEWAY_TLS_CERT === undefined ? "http" : "https",
    },
    callerFiles: { RPC_TLS_CA: ca, RPC_TLS_CLIENT_CERT: cert, RPC_TLS_CLIENT_KEY: key },
    environment: Object.fromEntries(
      Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== ""),
    ),
  };
}

function byName<N extends string, T>(names: readonly N[], of: (name: N) => T): Record<N, T> {
  return Object.fromEntries(names.map((name) => [name, of(name)])) as Record<N, T>;
}

type Read = Partial<SettingsConfig>;

/** Every port that is asked for, in the order of the names. */
function wantedPorts(read: Read): { variable: string; port: number }[] {
  const used = portNames.filter((name) => name !== "sandbox" || read.TELEGRAM_API_ROOT === undefined);
  const variables = [...used.map(portVariable), ...serviceNames.map(metricsPortVariable)];
  return variables.flatMap((variable) => {
    const port = read[variable];
    return port === undefined || port === 0 ? [] : [{ variable, port }];
  });
}

function sharedPorts(read: Read): string[] {
  const wanted = wantedPorts(read);
  return wanted.flatMap(({ variable, port }, index) => {
    const other = wanted.slice(0, index).find((earlier) => earlier.port === port);
    return other === undefined ? [] : [`${variable}: ${port} is also ${other.variable}`];
  });
}

function isGiven(env: Record<string, string | undefined>, name: string): boolean {
  return Boolean(env[name] || env[`${name}_FILE`]);
}

/** Secrets made up beside somebody's own database would be lost with the folder, and its bots' tokens with them. */
function missingSecrets(env: Record<string, string | undefined>): string[] {
  if (!isGiven(env, "DATABASE_URL")) return [];
  return (["RPC_TOKENS", "SECRET_KEYS"] as const)
    .filter((name) => !isGiven(env, name))
    .map((name) => `${name}: is not set; it is generated only for the embedded database, so DATABASE_URL needs it`);
}

/** Each process is given the secret that it shows, which a hash does not tell. */
function missingCallers(tokens: readonly RpcEntry[] | undefined): string[] {
  if (tokens === undefined) return [];
  return callers
    .filter((name) => tokens.find((token) => token.name === name)?.secret === undefined)
    .map((name) => `RPC_TOKENS: has no entry "${name}" with its secret, which that process shows when it calls`);
}

function unshownCertificate(read: Read): string[] {
  if (read.RPC_TLS_CLIENT_CA === undefined || read.RPC_TLS_CLIENT_CERT !== undefined) return [];
  return ["RPC_TLS_CLIENT_CERT: is not set, and RPC_TLS_CLIENT_CA makes the services ask their callers for one"];
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
