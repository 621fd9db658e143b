/**
 * The whole system as a test's own: the real processes, each with nothing but environment variables, on a database, a
 * `nats-server` and a sandbox Bot API that nobody else uses.
 */
import { join } from "node:path";
import { type Client, createClient } from "@connectrpc/connect";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import type { Sql } from "#services/core/database/client.ts";
import { watchOver } from "#services/local/embedded/server-process.ts";
import { createSandboxClient } from "#services/local/sandbox/client.ts";
import type { SandboxControl } from "#services/local/sandbox/control.ts";
import { loadRpcTokens, loadSecretKeys } from "#services/local/supervisor/secrets.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { temporaryFolder } from "./folder.ts";
import { createTestNats, type TestNats } from "./nats.ts";
import { createTestDatabase } from "./postgres.ts";
import { mainOf, type ServiceProcess, startService } from "./service-process.ts";

export interface SystemOptions {
  /** Replicas of each; default 1. The first is called by its service's name, the others `delivery-2`, `broadcast-2`, … */
  delivery?: number;
  broadcast?: number;
  /** Puts a pooler in transaction mode between every process and the database. */
  pooler?: (databaseUrl: string) => Promise<{ url: string; stop(): Promise<void> }>;
}

export interface System {
  /** RPCs with the platform's token, which may do everything. */
  readonly account: Client<typeof AccountService>;
  readonly campaign: Client<typeof CampaignService>;
  readonly broadcast: Client<typeof BroadcastService>;
  /** Of the system's own database. */
  readonly sql: Sql;
  readonly nats: TestNats;
  /** Controls of the sandbox Bot API. */
  readonly sandbox: SandboxControl;
  /** Where a process listens, and the secret that may call everything: for clients of the test's own. */
  urlOf(name: ServiceName): string;
  readonly platformToken: string;
  /** Calls the gateway, and returns the reply's `data`; throws when the reply is an error. POSTs where `form` is given. */
  rest(session: string, path: string, form?: Record<string, string>): Promise<unknown>;
  /** Ends a process as a power cut would. */
  kill9(name: string): Promise<void>;
  /** Asks a process to drain. @returns its exit code. */
  sigterm(name: string): Promise<number>;
  /** Starts a process, as it was if it ran before; any name of `SystemOptions` will do. */
  start(name: string): Promise<void>;
  /** What each process has printed last. */
  logs(): string;
}

export type ServiceName = "sandbox" | "account" | "campaign" | "delivery" | "broadcast" | "gateway";

/**
 * Runs a test on a system of its own, ready in about two seconds, and leaves nothing behind. Whatever runs at the end
 * must drain well. If anything fails, what the processes printed last goes to stderr.
 */
export async function withSystem(options: SystemOptions, test: (system: System) => Promise<void>): Promise<void> {
  const { system, stop } = await startSystem(options);
  const show = (error: unknown) => {
    process.stderr.write(system.logs());
    throw error;
  };
  try {
    await test(system).catch(show);
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
  await stop().catch(show);
}

/** `stop` throws, once everything has ended, if a process did not drain well. */
export async function startSystem(options: SystemOptions = {}): Promise<{ system: System; stop(): Promise<void> }> {
  const [database, nats] = await Promise.all([createTestDatabase(), createTestNats()]);
  const pooler = await options.pooler?.(database.url);
  const processes = new Processes({
    NATS_URL: nats.url,
    ...(pooler ? { DATABASE_URL: pooler.url, DATABASE_PREPARE: "false" } : { DATABASE_URL: database.url }),
  });
  const stop = async () => {
    try {
      await processes.stopAll();
    } finally {
      await pooler?.stop();
      await Promise.all([nats.stop(), database.drop()]);
    }
  };
  try {
    await startInOrder(processes, options);
  } catch (error) {
    await stop();
    throw error;
  }
  const transport = (name: ServiceName) =>
    createRpcTransport({ baseUrl: processes.urlOf(name), token: processes.platformToken });
  const system: System = {
    account: createClient(AccountService, transport("account")),
    campaign: createClient(CampaignService, transport("campaign")),
    broadcast: createClient(BroadcastService, transport("broadcast")),
    sql: database.sql,
    nats,
    sandbox: createSandboxClient(processes.urlOf("sandbox")),
    urlOf: (name) => processes.urlOf(name),
    platformToken: processes.platformToken,
    rest: (session, path, form) => callRest(processes.urlOf("gateway"), { session, path, form }),
    kill9: (name) => processes.kill9(name),
    sigterm: (name) => processes.sigterm(name),
    start: (name) => processes.start(name),
    logs: () => processes.logs(),
  };
  return { system, stop };
}

/** Each process picks a free port and says which; so they start in the order in which they know each other. */
async function startInOrder(processes: Processes, { delivery = 1, broadcast = 1 }: SystemOptions): Promise<void> {
  const replicas = (service: string, count: number) =>
    Array.from({ length: count }, (_, i) => (i === 0 ? service : `${service}-${i + 1}`));
  await processes.startAll(["sandbox", "account", "campaign"]);
  await processes.startAll(replicas("delivery", delivery));
  await processes.startAll(replicas("broadcast", broadcast));
  await processes.start("gateway");
}

class Processes {
  readonly platformToken: string;
  readonly #shared: Record<string, string>;
  readonly #gatewayTokens: string;
  /** Each one's latest process, and those of them that run. */
  readonly #latest = new Map<string, ServiceProcess>();
  readonly #running = new Set<ServiceProcess>();

  constructor(servers: Record<string, string>) {
    const folder = temporaryFolder("system");
    const tokens = loadRpcTokens(join(folder, "rpc-tokens.json"));
    const secretOf = (name: string) => tokens.find((token) => token.name === name)!;
    this.platformToken = secretOf("platform").secret;
    this.#gatewayTokens = JSON.stringify([secretOf("gateway")]);
    this.#shared = {
      ...servers,
      RPC_TOKENS: JSON.stringify(tokens),
      SECRET_KEYS: loadSecretKeys(join(folder, "secret-keys")),
    };
  }

  urlOf(name: ServiceName): string {
    return `http://127.0.0.1:${this.#latestOf(name).port}`;
  }

  #latestOf(name: string): ServiceProcess {
    const found = this.#latest.get(name);
    if (found === undefined) throw new Error(`There is no process ${name}.`);
    return found;
  }

  async kill9(name: string): Promise<void> {
    const one = this.#latestOf(name);
    this.#running.delete(one);
    await one.kill9();
  }

  async sigterm(name: string): Promise<number> {
    const one = this.#latestOf(name);
    this.#running.delete(one);
    return await one.stop();
  }

  async startAll(names: string[]): Promise<void> {
    await Promise.all(names.map((name) => this.start(name)));
  }

  /** One that ran before comes back at the port that the others know. */
  async start(name: string): Promise<void> {
    const port = String(this.#latest.get(name)?.port ?? 0);
    const one = await this.#spawn(name.replace(/-\d+$/, "") as ServiceName, port);
    this.#latest.set(name, one);
    this.#running.add(one);
  }

  async #spawn(service: ServiceName, port: string): Promise<ServiceProcess> {
    if (service === "sandbox") return await startSandbox(port);
    return await startService(mainOf(service), this.#environmentOf(service, port));
  }

  #environmentOf(service: Exclude<ServiceName, "sandbox">, port: string): Record<string, string> {
    const shared = {
      ...this.#shared,
      [`${service.toUpperCase()}_PORT`]: port,
      [`${service.toUpperCase()}_METRICS_PORT`]: "0",
    };
    switch (service) {
      case "account":
      case "campaign":
        return shared;
      case "delivery":
        return {
          ...shared,
          TELEGRAM_API_ROOT: this.urlOf("sandbox"),
          SERVICE_BOT_TOKEN: "900:the-service-bot-of-the-tests",
          // The tests' database is made to be thrown away.
          ALLOW_UNSAFE_DATABASE: "1",
        };
      case "broadcast":
        return { ...shared, DELIVERY_URL: this.urlOf("delivery") };
      case "gateway":
        return {
          GATEWAY_PORT: port,
          GATEWAY_METRICS_PORT: "0",
          RPC_TOKENS: this.#gatewayTokens,
          ACCOUNT_URL: this.urlOf("account"),
          CAMPAIGN_URL: this.urlOf("campaign"),
          BROADCAST_URL: this.urlOf("broadcast"),
        };
      default:
        return service satisfies never;
    }
  }

  logs(): string {
    return [...this.#latest].map(([name, one]) => `--- ${name} printed last\n${one.output()}`).join("\n");
  }

  /** In reverse, so that none is asked to finish without what it needs for that. */
  async stopAll(): Promise<void> {
    const unwell: string[] = [];
    for (const [name, one] of [...this.#latest].reverse()) {
      if (!this.#running.delete(one)) continue;
      const exitCode = await one.stop();
      if (exitCode !== 0) unwell.push(`${name} ended with ${exitCode}`);
    }
    if (unwell.length > 0) throw new Error(`Not every process drained well: ${unwell.join(", ")}.`);
  }
}

async function startSandbox(port: string): Promise<ServiceProcess> {
  const env = { SANDBOX_PORT: port, SANDBOX_CONTROL_PORT: "0" };
  const sandbox = await startService(mainOf("sandbox"), env, (line) => {
    const url = /sandbox at (\S+?),? /.exec(line)?.[1];
    return url === undefined ? undefined : Number(new URL(url).port);
  });
  // It is made to be used alone, so it does not watch its parent.
  const watcher = watchOver(sandbox.pid, "SIGKILL");
  const unwatched = async <T>(end: () => Promise<T>) => {
    watcher.kill("SIGKILL");
    return await end();
  };
  return { ...sandbox, stop: () => unwatched(sandbox.stop), kill9: () => unwatched(sandbox.kill9) };
}

async function callRest(
  gateway: string,
  { session, path, form }: { session: string; path: string; form?: Record<string, string> },
): Promise<unknown> {
  const reply = await fetch(`${gateway}/api/${path}`, {
    headers: { Authorization: `Bearer ${session}` },
    ...(form === undefined ? {} : { method: "POST", body: new URLSearchParams(form) }),
  });
  const body = (await reply.json()) as { status: string; error?: string; message?: string; data?: unknown };
  if (body.status !== "ok") throw new Error(`${path}: ${body.error}: ${body.message}`);
  return body.data;
}
