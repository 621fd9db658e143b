import { deliveryHeap } from "#services/delivery/heap.ts";
import type { RpcToken } from "#services/platform/config.ts";
import { dataPaths, type PortName, portVariable, type Settings } from "./settings.ts";

/** One of our processes: its script, and the environment that it gets on top of what is inherited. */
export interface PlannedProcess {
  name: PortName;
  command: string[];
  port: number;
  /** Answers 200 when the process is ready. */
  readyPath: string;
  /** Whether we must see to it that it does not outlive us. */
  watched: boolean;
  env: Record<string, string>;
}

/** What is known once the servers below are up. */
export interface Ground {
  ports: Record<PortName, number>;
  databaseUrl: string;
  natsUrl: string;
  rpcTokens: readonly RpcToken[];
  /** Undefined: the environment has them. */
  secretKeys: string | undefined;
}

/** Has the form of a Bot API token; the sandbox takes any that has. */
export const sandboxServiceBotToken = "7010000:sandbox-service-bot-of-leadcast-demo";

/** What a process may know is passed on by name; none of it is inherited by one that has no use for it. */
const guarded = ["DATABASE_URL", "NATS_URL", "RPC_TOKENS", "SECRET_KEYS", "SERVICE_BOT_TOKEN"];

export function planSandbox(settings: Settings, port: number): PlannedProcess {
  return {
    name: "sandbox",
    command: ["services/sandbox/main.ts"],
    port,
    readyPath: "/_sandbox/address",
    watched: true,
    env: {
      SANDBOX_CONTROL_PORT: "0",
      SANDBOX_STATE: dataPaths(settings.folder).sandbox,
      ...inherited(settings),
      SANDBOX_PORT: String(port),
    },
  };
}

/** The five processes, in the order of starting. */
export function planServices(settings: Settings, ground: Ground): PlannedProcess[] {
  const addresses = addressesOf(settings, ground);
  const backend = {
    ...inherited(settings),
    ...addresses,
    DATABASE_URL: ground.databaseUrl,
    NATS_URL: ground.natsUrl,
    RPC_TOKENS: tokensOf(settings, ground.rpcTokens),
    SECRET_KEYS: ground.secretKeys ?? settings.environment.SECRET_KEYS ?? "",
  };
  const delivery = {
    ...deliveryHeap,
    ...backend,
    SERVICE_BOT_TOKEN:
      settings.environment.SERVICE_BOT_TOKEN ?? (settings.telegramApiRoot === undefined ? sandboxServiceBotToken : ""),
  };
  // The gateway has no database, no keys, and of the callers' secrets only its own.
  const own = ground.rpcTokens.filter((token) => token.name === "gateway");
  const gateway = { ...inherited(settings), ...addresses, RPC_TOKENS: JSON.stringify(own) };
  return (["account", "campaign", "broadcast", "delivery", "gateway"] as const).map((name) => ({
    name,
    command: [name === "gateway" ? "gateway/main.ts" : `services/${name}/main.ts`],
    port: ground.ports[name],
    readyPath: "/healthz",
    watched: false,
    env: name === "gateway" ? gateway : name === "delivery" ? delivery : backend,
  }));
}

function inherited(settings: Settings): Record<string, string> {
  return Object.fromEntries(Object.entries(settings.environment).filter(([name]) => !guarded.includes(name)));
}

function tokensOf(settings: Settings, tokens: readonly RpcToken[]): string {
  return settings.environment.RPC_TOKENS ?? JSON.stringify(tokens);
}

function addressesOf(settings: Settings, { ports }: Ground): Record<string, string> {
  const services = ["account", "campaign", "broadcast", "delivery", "gateway"] as const;
  const here = (name: PortName) => `http://127.0.0.1:${ports[name]}`;
  const given = settings.environment;
  return {
    ...Object.fromEntries(services.map((name) => [portVariable(name), String(ports[name])])),
    ACCOUNT_URL: given.ACCOUNT_URL ?? here("account"),
    CAMPAIGN_URL: given.CAMPAIGN_URL ?? here("campaign"),
    BROADCAST_URL: given.BROADCAST_URL ?? here("broadcast"),
    DELIVERY_URL: given.DELIVERY_URL ?? here("delivery"),
    PUBLIC_URL: given.PUBLIC_URL ?? `http://localhost:${ports.gateway}`,
    TELEGRAM_API_ROOT: settings.telegramApiRoot ?? here("sandbox"),
  };
}
