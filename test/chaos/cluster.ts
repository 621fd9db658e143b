/**
 * The real processes with a proxy between each pair of them, on a Postgres, a `nats-server` and a sandbox Bot API of their
 * own, all of which can be killed, frozen and cut off, and come back at the same addresses.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Client, createClient } from "@connectrpc/connect";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { createDatabase, migrate, type Sql } from "#services/core/database/client.ts";
import { type EmbeddedPostgres, startPostgres } from "#services/local/embedded/postgres.ts";
import { watchOver } from "#services/local/embedded/server-process.ts";
import { createSandboxClient } from "#services/local/sandbox/client.ts";
import type { SandboxControl } from "#services/local/sandbox/control.ts";
import { loadRpcTokens, loadSecretKeys } from "#services/local/supervisor/secrets.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { eventually } from "../support/eventually.ts";
import { removeFolder, temporaryFolder } from "../support/folder.ts";
import { createTestNats, type TestNats } from "../support/nats.ts";
import { createTestDatabase } from "../support/postgres.ts";
import { mainOf, type ServiceProcess, startService } from "../support/service-process.ts";
import { createTcpProxy, type TcpProxy } from "./tcp-proxy.ts";

export const LINKS = [
  "delivery-postgres",
  "delivery-nats",
  "delivery-telegram",
  "relay-postgres",
  "relay-nats",
  "gateway-services",
] as const;
export type LinkName = (typeof LINKS)[number];

export interface ClusterOptions {
  delivery: number;
  broadcast: number;
  /** A Postgres of our own with fsync on, which may be killed; otherwise a database of the tests' shared one. */
  ownPostgres: boolean;
  /** Kill points of the first processes by their names, as LEADCAST_KILL_POINT has them. */
  armed?: Readonly<Record<string, string>>;
  /** By how much a process's wall clock jumps a few seconds after its start; asked at each start. Default: not at all. */
  clockJumpMs?: (name: string) => number;
  /** What else a process is started with, asked at each start; `urlOf` gives the address of one that has been started. */
  environment?: (name: string, urlOf: (name: string) => string | undefined) => Readonly<Record<string, string>>;
}

const JUMPING_CLOCK = join(import.meta.dirname, "jumping-clock.ts");

/** What the kernel says of a process. */
export type Life = "running" | "stopped" | "gone";

export type Cluster = Awaited<ReturnType<typeof startCluster>>;

export async function startCluster(options: ClusterOptions) {
  const folder = temporaryFolder("chaos");
  const nats = await createTestNats();
  const database = options.ownPostgres ? await ownDatabase(folder) : await sharedDatabase();
  const processes = new Map<string, ServiceProcess>();
  let watcher: ReturnType<typeof watchOver> | undefined;
  const portOf = (name: string) => () => processes.get(name)!.port;
  const urlOf = (name: string) => `http://127.0.0.1:${processes.get(name)!.port}`;
  const portOfLive = (names: string[]) => () => {
    const alive = names.find((name) => lifeOf(processes.get(name)?.pid ?? 0) === "running");
    return processes.get(alive ?? names[0]!)!.port;
  };
  const replicas = (service: string, count: number) => Array.from({ length: count }, (_, i) => `${service}-${i + 1}`);
  const deliveries = replicas("delivery", options.delivery);
  const broadcasts = replicas("broadcast", options.broadcast);
  const proxies: Record<LinkName, TcpProxy> = {
    "delivery-postgres": await createTcpProxy(() => database.port),
    "delivery-nats": await createTcpProxy(() => Number(new URL(nats.url).port)),
    "delivery-telegram": await createTcpProxy(portOf("sandbox")),
    "relay-postgres": await createTcpProxy(() => database.port),
    "relay-nats": await createTcpProxy(() => Number(new URL(nats.url).port)),
    // The first replica that lives, as a load balancer would choose.
    "gateway-services": await createTcpProxy(portOfLive(broadcasts)),
  };
  const environment = createEnvironment(folder, database, nats, proxies, processes);

  /** Starts a process, at the port where it was before if it ran before. */
  async function start(name: string, killPoint = ""): Promise<void> {
    const service = name.replace(/-\d+$/, "");
    const port = String(processes.get(name)?.port ?? 0);
    const env = environment.of(service, port);
    const jumpMs = options.clockJumpMs?.(name) ?? 0;
    const extra = {
      ...(killPoint === "" ? {} : { LEADCAST_KILL_POINT: killPoint }),
      ...(jumpMs === 0 ? {} : { BUN_OPTIONS: `--preload=${JUMPING_CLOCK}`, CLOCK_JUMP_MS: String(jumpMs) }),
      ...options.environment?.(name, (other) => (processes.has(other) ? urlOf(other) : undefined)),
    };
    processes.set(
      name,
      await startService(mainOf(service), { ...env, ...extra }, service === "sandbox" ? portOfSandbox : undefined),
    );
    // The sandbox is made to be used alone, so it does not end by itself when this process does.
    if (service === "sandbox") watcher = watchOver(processes.get(name)!.pid, "SIGKILL");
  }

  const stop = async () => {
    for (const proxy of Object.values(proxies)) proxy.heal();
    for (const process of processes.values()) signal(process.pid, "SIGCONT");
    for (const [name, process] of [...processes].reverse()) {
      if (name === "sandbox") await process.kill9();
      else await process.stop();
    }
    watcher?.kill("SIGKILL");
    await Promise.all(Object.values(proxies).map((proxy) => proxy.stop()));
    await Promise.all([nats.stop(), database.stop()]);
    removeFolder(folder);
  };
  try {
    await start("sandbox");
    await Promise.all(["account", "campaign"].map((name) => start(name)));
    await Promise.all(deliveries.map((name) => start(name, options.armed?.[name])));
    await Promise.all(broadcasts.map((name) => start(name, options.armed?.[name])));
    await start("gateway");
  } catch (error) {
    await stop();
    throw error;
  }

  const direct = (name: string) =>
    createRpcTransport({
      baseUrl: urlOf(name),
      token: environment.platformToken,
    });
  return {
    nats,
    proxies,
    deliveries,
    broadcasts,
    sql: database.sql,
    /** Kills the server and everything in its memory; it is back when this resolves. */
    killPostgres: database.kill,
    /** Kills one of its server processes, after which Postgres starts all of them anew from the log. */
    killBackend: database.killBackend,
    sandbox: createSandboxClient(urlOf("sandbox")) as SandboxControl,
    account: createClient(AccountService, direct("account")) as Client<typeof AccountService>,
    campaign: createClient(CampaignService, direct("campaign")) as Client<typeof CampaignService>,
    broadcast: createClient(BroadcastService, direct("broadcast-1")) as Client<typeof BroadcastService>,
    delivery: createClient(DeliveryService, direct("delivery-1")) as Client<typeof DeliveryService>,
    /** What a process of that service is started with. */
    environmentOf: (service: string) => environment.of(service, "0"),
    gatewayUrl: urlOf("gateway"),
    urlOf,
    metricsUrlOf: (name: string) => processes.get(name)!.metricsUrl,
    start,
    /** @returns the exit code. */
    sigterm: (name: string) => processes.get(name)!.stop(),
    kill9: (name: string) => processes.get(name)!.kill9(),
    freeze: (name: string) => signal(processes.get(name)!.pid, "SIGSTOP"),
    thaw: (name: string) => signal(processes.get(name)!.pid, "SIGCONT"),
    life: (name: string) => lifeOf(processes.get(name)!.pid),
    output: (name: string) => processes.get(name)!.output(),
    /** Everything that runs. */
    names: () => [...processes.keys()],
    /** Where this cluster's own files lie; `postgres.log` among them where Postgres is its own. */
    folder,
    stop,
  };
}

interface ClusterDatabase {
  sql: Sql;
  port: number;
  urlThrough(port: number): string;
  durable: boolean;
  kill(): Promise<void>;
  killBackend(): Promise<void>;
  stop(): Promise<void>;
}

async function sharedDatabase(): Promise<ClusterDatabase> {
  const database = await createTestDatabase();
  const url = new URL(database.url);
  const shared = () => Promise.reject(new Error("This Postgres is shared: others would be killed with it."));
  return {
    sql: database.sql,
    port: Number(url.port),
    urlThrough: (port) => urlWithPort(database.url, port),
    durable: false,
    kill: shared,
    killBackend: shared,
    stop: () => database.drop(),
  };
}

async function ownDatabase(folder: string): Promise<ClusterDatabase> {
  const options = { dataDir: join(folder, "postgres"), logPath: join(folder, "postgres.log") };
  let server: EmbeddedPostgres = await startPostgres(options);
  const { url, port } = server;
  await migrate(url);
  const client = createDatabase({ url, applicationName: "chaos", maxConnections: 4 });
  return {
    sql: client.sql,
    port,
    urlThrough: (through) => urlWithPort(url, through),
    durable: true,
    kill: async () => {
      signal(server.pid, "SIGKILL");
      await server.exited;
      // Its orphans notice within moments that it is gone; until then they hold the old memory, and a start is refused.
      server = await eventually(() => startPostgres({ ...options, port }), { timeoutMs: 30_000 });
    },
    killBackend: async () => {
      const [row] = await client.sql<{ pid: number }[]>`
        SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'leadcast-%' ORDER BY random() LIMIT 1`;
      if (row) signal(row.pid, "SIGKILL");
    },
    stop: async () => {
      await client.close();
      await server.stop();
    },
  };
}

function urlWithPort(url: string, port: number): string {
  const changed = new URL(url);
  changed.port = String(port);
  return changed.href;
}

function createEnvironment(
  folder: string,
  database: ClusterDatabase,
  nats: TestNats,
  proxies: Record<LinkName, TcpProxy>,
  processes: ReadonlyMap<string, ServiceProcess>,
) {
  const tokens = loadRpcTokens(join(folder, "rpc-tokens.json"));
  const tokenOf = (name: string) => tokens.find((token) => token.name === name)!;
  const keys = { RPC_TOKENS: JSON.stringify(tokens), SECRET_KEYS: loadSecretKeys(join(folder, "secret-keys")) };
  const urlOf = (name: string) => `http://127.0.0.1:${processes.get(name)!.port}`;
  const at = (link: LinkName) => `127.0.0.1:${proxies[link].port}`;

  function environmentOf(service: string, port: string): Record<string, string> {
    switch (service) {
      case "sandbox":
        return { SANDBOX_PORT: port, SANDBOX_CONTROL_PORT: "0" };
      case "account":
      case "campaign":
        return {
          ...keys,
          DATABASE_URL: database.urlThrough(database.port),
          NATS_URL: nats.url,
          [`${service.toUpperCase()}_PORT`]: port,
        };
      case "delivery":
        return {
          ...keys,
          DELIVERY_PORT: port,
          DATABASE_URL: database.urlThrough(proxies["delivery-postgres"].port),
          NATS_URL: `nats://${at("delivery-nats")}`,
          TELEGRAM_API_ROOT: `http://${at("delivery-telegram")}`,
          SERVICE_BOT_TOKEN: "900:the-service-bot-of-the-tests",
          ...(database.durable ? {} : { ALLOW_UNSAFE_DATABASE: "1" }),
        };
      case "broadcast":
        return {
          ...keys,
          BROADCAST_PORT: port,
          DATABASE_URL: database.urlThrough(proxies["relay-postgres"].port),
          NATS_URL: `nats://${at("relay-nats")}`,
          DELIVERY_URL: urlOf("delivery-1"),
        };
      case "gateway":
        return {
          GATEWAY_PORT: port,
          RPC_TOKENS: JSON.stringify([tokenOf("gateway")]),
          ACCOUNT_URL: urlOf("account"),
          CAMPAIGN_URL: urlOf("campaign"),
          BROADCAST_URL: `http://${at("gateway-services")}`,
        };
      default:
        throw new Error(`There is no service ${service}.`);
    }
  }
  return { platformToken: tokenOf("platform").secret, of: environmentOf };
}

function portOfSandbox(line: string): number | undefined {
  const url = /sandbox at (\S+?),? /.exec(line)?.[1];
  return url === undefined ? undefined : Number(new URL(url).port);
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended.
  }
}

function lifeOf(pid: number): Life {
  try {
    const state = /^\d+ \(.*\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1];
    return state === undefined || state === "Z" || state === "X" ? "gone" : state === "T" ? "stopped" : "running";
  } catch {
    return "gone";
  }
}
