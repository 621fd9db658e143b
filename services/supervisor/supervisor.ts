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

import { type FolderLock, lockFolder } from "#services/embedded/folder-lock.ts";
import { findNatsServer, startNatsServer } from "#services/embedded/nats-server.ts";
import { freePort, isPortFree } from "#services/embedded/ports.ts";
import { startPostgres } from "#services/embedded/postgres.ts";
import { SetupError } from "#services/embedded/setup-error.ts";
import { banner } from "./banner.ts";
import { startBunProcess } from "./bun-process.ts";
import { untilReady } from "./health.ts";
import { Keeper, type Running } from "./keeper.ts";
import { type Ground, type PlannedProcess, planSandbox, planServices } from "./plan.ts";
import { removeRunning, writeRunning } from "./running.ts";
import { loadRpcTokens, loadSecretKeys } from "./secrets.ts";
import { demoSession, type SeedOptions, seedDemo } from "./seed.ts";
import { dataPaths, type PortName, portNames, portVariable, type Settings } from "./settings.ts";

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
    const [databaseUrl, natsUrl] = await this.#startServersBelow(ports);
    const paths = dataPaths(this.#settings.folder);
    const ground: Ground = {
      ports,
      databaseUrl,
      natsUrl,
      rpcTokens: this.#settings.rpcTokens ?? loadRpcTokens(paths.rpcTokens),
      secretKeys: this.#settings.hasSecretKeys ? undefined : loadSecretKeys(paths.secretKeys),
    };
    await Promise.all(planServices(this.#settings, ground).map((planned) => this.#startProcess(planned)));
    const session = await this.#prepareDemo(ground);
    this.#announce(ports, session, (performance.now() - startedAt) / 1000);
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
      else if (!(await isPortFree(ports[name]))) {
        throw new SetupError(
          `Port ${ports[name]} of ${name} is taken: stop what listens there, or set ${portVariable(name)} to another.`,
        );
      }
    }
    return ports;
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

  async #startProcess({ name, command, port, readyPath, watched, env }: PlannedProcess): Promise<void> {
    const startedAt = performance.now();
    const logPath = dataPaths(this.#settings.folder).log(name);
    const keeper = this.#keeper(name, async () =>
      startBunProcess({ name, command, env, logPath, watched, cwd: this.#root, say: this.#say }),
    );
    await keeper.start();
    const url = `http://127.0.0.1:${port}${readyPath}`;
    await this.#unlessHopeless(keeper, logPath, untilReady(url, startTimeoutMs, this.#stopping.signal));
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
      accountUrl: `http://127.0.0.1:${ports.account}`,
      campaignUrl: `http://127.0.0.1:${ports.campaign}`,
      token,
      seededPath: paths.seeded,
      sessionPath: paths.session,
    };
    if (await seedDemo(options)) this.#say("demo account made: 2 bots, 2 campaigns, 5,000 leads");
    return await demoSession(options);
  }

  #sayReady(name: string, startedAt: number): void {
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    this.#say(`${name.padEnd(10)} ready in ${seconds} s`);
  }

  #announce(ports: Record<PortName, number>, session: string | undefined, seconds: number): void {
    this.#stopping.signal.throwIfAborted();
    const { folder, telegramApiRoot } = this.#settings;
    const withSandbox = telegramApiRoot === undefined;
    writeRunning(folder, {
      pid: process.pid,
      gateway: `http://127.0.0.1:${ports.gateway}`,
      ...(withSandbox ? { sandbox: `http://127.0.0.1:${ports.sandbox}` } : {}),
    });
    this.#say(banner({ folder, ports, withSandbox, session, seconds }));
  }
}
