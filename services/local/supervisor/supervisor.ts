/**
 * `npm start`: the real processes side by side, on servers of our own where none are given.
 *
 *   postgres ┐
 *   nats     ├─► account, campaign, broadcast, delivery, gateway ─► demo data ─► ready
 *   sandbox  ┘
 *
 * Whatever dies is started again. They stop in the order in which nothing loses what it still needs: the gateway takes
 * no more requests, broadcast publishes no more, delivery drains, and the servers below go last.
 */

import { type FolderLock, lockFolder } from "#services/local/embedded/folder-lock.ts";
import { findNatsServer, startNatsServer } from "#services/local/embedded/nats-server.ts";
import { freePort, isPortFree } from "#services/local/embedded/ports.ts";
import { startPostgres } from "#services/local/embedded/postgres.ts";
import { SetupError } from "#services/local/embedded/setup-error.ts";
import { urlOfListener } from "#services/platform/address.ts";
import type { WatchedTls } from "#services/platform/certificates.ts";
import { createLogger } from "#services/platform/log.ts";
import { usualMetricsPort } from "#services/platform/metrics-server.ts";
import { watchClientTls } from "#services/platform/rpc/variables.ts";
import { banner } from "./banner.ts";
import { startBunProcess } from "./bun-process.ts";
import { untilReady } from "./health.ts";
import { Keeper, type Running } from "./keeper.ts";
import { type Ground, type PlannedProcess, planSandbox, planServices, serviceUrl } from "./plan.ts";
import { removeRunning, writeRunning } from "./running.ts";
import { loadRpcTokens, loadSecretKeys } from "./secrets.ts";
import { demoSession, type SeedOptions, seedDemo } from "./seed.ts";
import {
  dataPaths,
  metricsPortVariable,
  type PortName,
  portNames,
  portVariable,
  type ServiceName,
  type Settings,
  serviceNames,
} from "./settings.ts";

const stopOrder = ["gateway", "broadcast", "delivery", "campaign", "account", "sandbox", "nats", "postgres"];
const startTimeoutMs = 60_000;

export interface SupervisorOptions {
  settings: Settings;
  /** The repository's folder. */
  root: string;
  say(line: string): void;
}

export class Supervisor {
  #settings: Settings;
  #root: string;
  #say: (line: string) => void;
  #keepers = new Map<string, Keeper>();
  #lock: FolderLock | undefined;
  #stopping = new AbortController();
  #stopped: Promise<void> | undefined;

  constructor({ settings, root, say }: SupervisorOptions) {
    this.#settings = settings;
    this.#root = root;
    this.#say = say;
  }

  /**
   * Resolves when every process answers and the banner is printed.
   *
   * @throws SetupError with one sentence when it cannot be. The caller then stops what did start.
   */
  async start(): Promise<void> {
    const startedAt = performance.now();
    this.#lock = lockFolder(this.#settings.folder);
    const ports = await this.#takePorts();
    const metricsPorts = await this.#takeMetricsPorts(ports);
    const [databaseUrl, natsUrl] = await this.#startServersBelow(ports);
    const paths = dataPaths(this.#settings.folder);
    const ground: Ground = {
      ports,
      metricsPorts,
      databaseUrl,
      natsUrl,
      rpcTokens: this.#settings.rpcTokens ?? loadRpcTokens(paths.rpcTokens),
      secretKeys: this.#settings.hasSecretKeys ? undefined : loadSecretKeys(paths.secretKeys),
    };
    await Promise.all(planServices(this.#settings, ground).map((planned) => this.#startProcess(planned)));
    const session = await this.#prepareDemo(ground);
    this.#announce(ground, session, (performance.now() - startedAt) / 1000);
  }

  /** Ends everything in order. Safe twice, before start and during it. */
  stop(): Promise<void> {
    this.#stopping.abort();
    this.#stopped ??= this.#stopAll();
    return this.#stopped;
  }

  /** Ends everything at once. Nothing is lost but what was on the wire, which is shown as unconfirmed. */
  kill(): void {
    for (const name of stopOrder) this.#keepers.get(name)?.kill();
  }

  async #stopAll(): Promise<void> {
    // Without the lock, the folder is somebody else's.
    if (this.#lock !== undefined) removeRunning(this.#settings.folder);
    for (const name of stopOrder) await this.#keepers.get(name)?.stop();
    this.#lock?.release();
  }

  async #takePorts(): Promise<Record<PortName, number>> {
    const needed = portNames.filter((name) => name !== "sandbox" || this.#settings.telegramApiRoot === undefined);
    const ports = { ...this.#settings.ports };
    for (const name of needed) {
      if (ports[name] === 0) ports[name] = await freePort();
      else if (!(await isPortFree(ports[name], this.#settings.hosts[name]))) {
        throw new SetupError(
          `Port ${ports[name]} of ${name} is taken: stop what listens there, or set ${portVariable(name)} to another.`,
        );
      }
    }
    return ports;
  }

  /** A thousand above the main port, where nobody has said otherwise and nobody is there. */
  async #takeMetricsPorts(ports: Record<PortName, number>): Promise<Record<ServiceName, number>> {
    const taken = new Set(Object.values(ports));
    const chosen: Partial<Record<ServiceName, number>> = {};
    for (const name of serviceNames) {
      const host = this.#settings.metricsHosts[name];
      const asked = this.#settings.metricsPorts[name];
      const usual = usualMetricsPort(ports[name]);
      const wanted = asked === 0 ? await freePort() : (asked ?? usual);
      if (!taken.has(wanted) && (await isPortFree(wanted, host))) chosen[name] = wanted;
      else if (asked === undefined) chosen[name] = await freePort();
      else throw new SetupError(`Port ${wanted} on ${host} is in use: set ${metricsPortVariable(name)} to another.`);
      taken.add(chosen[name]!);
    }
    return chosen as Record<ServiceName, number>;
  }

  async #startServersBelow(ports: Record<PortName, number>): Promise<[databaseUrl: string, natsUrl: string]> {
    const { databaseUrl, natsUrl, telegramApiRoot } = this.#settings;
    const [database, nats] = await Promise.all([
      databaseUrl ?? this.#startPostgres(),
      natsUrl ?? this.#startNats(),
      telegramApiRoot === undefined ? this.#startProcess(planSandbox(this.#settings, ports.sandbox)) : undefined,
    ]);
    return [database, nats];
  }

  async #startPostgres(): Promise<string> {
    const paths = dataPaths(this.#settings.folder);
    return await this.#startServer("postgres", (port) =>
      startPostgres({ dataDir: paths.postgres, logPath: paths.log("postgres"), port }),
    );
  }

  async #startNats(): Promise<string> {
    const paths = dataPaths(this.#settings.folder);
    const binary = findNatsServer(paths.tools, this.#say);
    return await this.#startServer("nats", (port) =>
      startNatsServer({ storeDir: paths.nats, logPath: paths.log("nats"), binary, port }),
    );
  }

  /** A server that dies comes back on the port that the others know. */
  async #startServer(
    name: string,
    start: (
      port?: number,
    ) => Promise<{ url: string; port: number; pid: number; exited: Promise<string>; stop(): Promise<void> }>,
  ): Promise<string> {
    const startedAt = performance.now();
    let url = "";
    let port: number | undefined;
    const keeper = this.#keeper(name, async () => {
      const server = await start(port);
      ({ url, port } = server);
      return {
        pid: server.pid,
        exited: server.exited.then((ending) => ({ ending, lastWords: "" })),
        stop: () => server.stop(),
        kill: () => process.kill(server.pid, "SIGKILL"),
      };
    });
    await keeper.start();
    keeper.markWell();
    this.#sayReady(name, startedAt);
    return url;
  }

  async #startProcess({ name, command, readyUrl, watched, env }: PlannedProcess): Promise<void> {
    const startedAt = performance.now();
    const logPath = dataPaths(this.#settings.folder).log(name);
    const keeper = this.#keeper(name, async () =>
      startBunProcess({ name, command, env, logPath, watched, cwd: this.#root, say: this.#say }),
    );
    await keeper.start();
    await this.#unlessHopeless(keeper, logPath, untilReady(readyUrl, startTimeoutMs, this.#stopping.signal));
    keeper.markWell();
    this.#sayReady(name, startedAt);
  }

  #keeper(name: string, start: () => Promise<Running>): Keeper {
    this.#stopping.signal.throwIfAborted();
    const keeper = new Keeper({ name, start, say: this.#say });
    this.#keepers.set(name, keeper);
    return keeper;
  }

  async #unlessHopeless(keeper: Keeper, logPath: string, ready: Promise<void>): Promise<void> {
    try {
      await Promise.race([ready, keeper.hopeless]);
    } catch (cause) {
      this.#stopping.signal.throwIfAborted();
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new SetupError(`${keeper.name} does not start: ${why}; its log is ${logPath}.`, { cause });
    } finally {
      ready.catch(() => {});
    }
  }

  /** Only a database of our own gets demo data, and only a token that may do everything can make it. */
  async #prepareDemo({ ports, rpcTokens }: Ground): Promise<string | undefined> {
    const token = rpcTokens.find(({ allow }) => allow.includes("*"))?.secret;
    if (this.#settings.databaseUrl !== undefined || token === undefined) return undefined;
    const paths = dataPaths(this.#settings.folder);
    const options: SeedOptions = {
      accountUrl: serviceUrl(this.#settings, "account", ports.account),
      campaignUrl: serviceUrl(this.#settings, "campaign", ports.campaign),
      token,
      tls: this.#callerTls(),
      seededPath: paths.seeded,
      sessionPath: paths.session,
    };
    if (await seedDemo(options)) this.#say("demo account made: 2 bots, 2 campaigns, 5,000 leads");
    return await demoSession(options);
  }

  /** The services' own word is their log; what we say of certificates while we seed is not worth a line. */
  #callerTls(): WatchedTls | undefined {
    return watchClientTls(
      this.#settings.callerFiles,
      createLogger({ service: "supervisor", destination: { write: () => {} } }),
    );
  }

  #sayReady(name: string, startedAt: number): void {
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    this.#say(`${name.padEnd(10)} ready in ${seconds} s`);
  }

  #announce({ ports, metricsPorts }: Ground, session: string | undefined, seconds: number): void {
    this.#stopping.signal.throwIfAborted();
    const { folder, telegramApiRoot, hosts, schemes } = this.#settings;
    const schemeOf = (name: PortName) =>
      name === "gateway" ? schemes.gateway : name === "sandbox" ? "http" : schemes.rpc;
    const urls = Object.fromEntries(
      portNames.map((name) => [name, urlOfListener(schemeOf(name), hosts[name], ports[name])]),
    ) as Record<PortName, string>;
    const withSandbox = telegramApiRoot === undefined;
    writeRunning(folder, {
      pid: process.pid,
      gateway: urls.gateway,
      ...(withSandbox ? { sandbox: urls.sandbox } : {}),
    });
    this.#say(banner({ folder, urls, metricsPorts, withSandbox, session, seconds }));
  }
}
