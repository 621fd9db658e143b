/**
 * What each process is started with. It is given the variables that it reads and no other of ours, so that no secret is where
 * nobody uses it: a server has the hashes of its own callers' tokens, a caller its own token, and only those that open or seal
 * bots' tokens have the keys.
 */
import type { TObject } from "@sinclair/typebox";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { Config as AccountConfig } from "#services/account/config.ts";
import { Config as BroadcastConfig } from "#services/broadcast/config.ts";
import { Config as CampaignConfig } from "#services/campaign/config.ts";
import { Config as DeliveryConfig } from "#services/delivery/config.ts";
import { deliveryHeap } from "#services/delivery/heap.ts";
import { urlOfListener } from "#services/platform/address.ts";
import { knownNames, secretNames } from "#services/platform/config-names.ts";
import { hashOfSecret, type RpcCaller, type RpcEntry, type RpcToken } from "#services/platform/variables.ts";
import { Config as GatewayConfig } from "../../../gateway/config.ts";
import {
  dataPaths,
  metricsPortVariable,
  type PortName,
  portVariable,
  type ServiceName,
  type Settings,
  serviceNames,
} from "./settings.ts";

/** One of our processes: its script, and the environment that it gets. */
export interface PlannedProcess {
  name: PortName;
  command: string[];
  /** Answers 200 when the process is ready. */
  readyUrl: string;
  /** Whether we must see to it that it does not outlive us. */
  watched: boolean;
  env: Record<string, string>;
}

/** What is known once the servers below are up. */
export interface Ground {
  ports: Record<PortName, number>;
  metricsPorts: Record<ServiceName, number>;
  databaseUrl: string;
  natsUrl: string;
  rpcTokens: readonly (RpcEntry | RpcToken)[];
  /** Undefined: the environment has them. */
  secretKeys: string | undefined;
}

/** Has the form of a Bot API token; the sandbox takes any that has. */
export const sandboxServiceBotToken = "7010000:sandbox-service-bot-of-leadcast-demo";

const schemas: Readonly<Record<ServiceName, TObject>> = {
  account: AccountConfig,
  campaign: CampaignConfig,
  broadcast: BroadcastConfig,
  delivery: DeliveryConfig,
  gateway: GatewayConfig,
};

const served: Readonly<Partial<Record<ServiceName, string>>> = {
  account: AccountService.typeName,
  campaign: CampaignService.typeName,
  broadcast: BroadcastService.typeName,
  delivery: DeliveryService.typeName,
};

export function planSandbox(settings: Settings, port: number): PlannedProcess {
  const { hosts, folder } = settings;
  return {
    name: "sandbox",
    command: ["services/local/sandbox/main.ts"],
    readyUrl: `${urlOfListener("http", hosts.sandbox, port)}/_sandbox/address`,
    watched: true,
    env: {
      SANDBOX_CONTROL_PORT: "0",
      SANDBOX_STATE: dataPaths(folder).sandbox,
      ...inherited(settings, (name) => name.startsWith("SANDBOX_")),
      SANDBOX_PORT: String(port),
    },
  };
}

/** The five processes, in the order of starting. */
export function planServices(settings: Settings, ground: Ground): PlannedProcess[] {
  return serviceNames.map((name) => ({
    name,
    command: [name === "gateway" ? "gateway/main.ts" : `services/${name}/main.ts`],
    readyUrl: `${urlOfListener("http", settings.metricsHosts[name], ground.metricsPorts[name])}/healthz`,
    watched: false,
    env: environmentOf(name, settings, ground),
  }));
}

function environmentOf(name: ServiceName, settings: Settings, ground: Ground): Record<string, string> {
  const isRead = (variable: string) => variable in schemas[name].properties;
  const decided = Object.entries({
    ...addressesOf(settings, ground),
    ...secretsOf(name, settings, ground),
    [portVariable(name)]: String(ground.ports[name]),
    [metricsPortVariable(name)]: String(ground.metricsPorts[name]),
  });
  return {
    ...(name === "delivery" ? deliveryHeap : {}),
    ...inherited(settings, isRead),
    ...Object.fromEntries(decided.filter(([variable]) => isRead(variable))),
  };
}

/** What is none of our variables goes to everybody. Tokens are handed out one by one. */
function inherited({ environment }: Settings, isRead: (name: string) => boolean): Record<string, string> {
  const entries = Object.entries(environment).filter(([given]) => {
    const name = secretNames.has(given.replace(/_FILE$/, "")) ? given.replace(/_FILE$/, "") : given;
    if (name === "RPC_TOKENS" || name === "RPC_TOKEN") return false;
    return !knownNames.has(name) || isRead(name);
  });
  return Object.fromEntries(entries);
}

/** What the environment has already, as itself or as a file, is inherited. */
function secretsOf(name: ServiceName, settings: Settings, ground: Ground): Record<string, string> {
  const made: Record<string, string | undefined> = {
    DATABASE_URL: settings.databaseUrl === undefined ? ground.databaseUrl : undefined,
    NATS_URL: settings.natsUrl === undefined ? ground.natsUrl : undefined,
    SECRET_KEYS: ground.secretKeys,
    SERVICE_BOT_TOKEN:
      hasServiceBot(settings) || settings.telegramApiRoot !== undefined ? undefined : sandboxServiceBotToken,
    RPC_TOKENS: served[name] === undefined ? undefined : JSON.stringify(callersOf(served[name], ground.rpcTokens)),
    RPC_TOKEN: ground.rpcTokens.find((token) => token.name === name)?.secret,
  };
  return Object.fromEntries(Object.entries(made).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

function hasServiceBot({ environment }: Settings): boolean {
  return "SERVICE_BOT_TOKEN" in environment || "SERVICE_BOT_TOKEN_FILE" in environment;
}

/** Those who may call something of that service, without their secrets. */
export function callersOf(service: string, tokens: readonly (RpcEntry | RpcToken)[]): RpcCaller[] {
  const isOfService = (pattern: string) => pattern === "*" || pattern.startsWith(`${service}/`);
  return tokens
    .map((token) => ({ ...token, allow: token.allow.filter(isOfService) }))
    .filter(({ allow }) => allow.length > 0)
    .map((token) => ({ name: token.name, hash: hashOf(token), allow: token.allow }));
}

function hashOf(token: RpcEntry | RpcToken): string {
  return "hash" in token ? token.hash : hashOfSecret(token.secret);
}

/** Where a service is called by those beside it. A certificate is more often made for a name than for an address. */
export function serviceUrl(settings: Settings, name: Exclude<PortName, "sandbox">, port: number): string {
  const scheme = name === "gateway" ? settings.schemes.gateway : settings.schemes.rpc;
  const url = urlOfListener(scheme, settings.hosts[name], port);
  return scheme === "https" ? url.replace(/\/\/(127\.0\.0\.1|\[::1\]):/, "//localhost:") : url;
}

function addressesOf(settings: Settings, { ports }: Ground): Record<string, string> {
  const given = settings.environment;
  const here = (name: ServiceName) => serviceUrl(settings, name, ports[name]);
  return {
    ACCOUNT_URL: given.ACCOUNT_URL ?? here("account"),
    CAMPAIGN_URL: given.CAMPAIGN_URL ?? here("campaign"),
    BROADCAST_URL: given.BROADCAST_URL ?? here("broadcast"),
    DELIVERY_URL: given.DELIVERY_URL ?? here("delivery"),
    PUBLIC_URL: given.PUBLIC_URL ?? `${settings.schemes.gateway}://localhost:${ports.gateway}`,
    TELEGRAM_API_ROOT: settings.telegramApiRoot ?? urlOfListener("http", settings.hosts.sandbox, ports.sandbox),
  };
}
