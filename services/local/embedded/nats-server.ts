import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { type Ending, startServerProcess, tailOf } from "./server-process.ts";
import { SetupError } from "./setup-error.ts";

const readyTimeoutMs = 20_000;

export interface NatsServerOptions {
  /** JetStream's files, and the server's small configuration. */
  storeDir: string;
  /** Default: a free one. */
  port?: number;
  /** Where the server's own messages go. */
  logPath: string;
  /** From `findNatsServer`; default: what that finds without fetching. */
  binary?: string;
  /** One server of a cluster; by itself without. */
  cluster?: NatsClusterOptions;
  /** JetStream's bound on disk; default 1 GiB. The stream holds seconds of work, so this is never reached. */
  maxFileStoreBytes?: number;
}

export interface NatsClusterOptions {
  /** Unique in the cluster. */
  serverName: string;
  /** Where this server listens for the others, and where they do. */
  port: number;
  routes: readonly number[];
}

export interface EmbeddedNats {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Resolves when the server is gone. */
  readonly exited: Promise<Ending>;
  /** Lets it close its files. Safe twice. */
  stop(): Promise<void>;
  /** Ends it as a power cut would. */
  kill9(): Promise<void>;
}

/** @returns the first `nats-server` on PATH, in the usual places, or in `toolsDir`. */
export function installedNatsServer(toolsDir: string): string | undefined {
  const path = `${process.env.PATH ?? ""}:/usr/sbin:/usr/local/bin:/usr/local/sbin:${resolve(toolsDir)}`;
  return Bun.which("nats-server", { PATH: path }) ?? undefined;
}

/**
 * Finds `nats-server`, or fetches it from the system's package archive into `toolsDir`. That needs no root: apt works
 * on folders of its own and the package is only unpacked, so nothing on the system changes.
 *
 * @throws SetupError that says what to install when it cannot be fetched.
 */
export function findNatsServer(toolsDir: string, say: (line: string) => void = () => {}): string {
  const found = installedNatsServer(toolsDir);
  if (found !== undefined) return found;
  if (Bun.which("apt-get") === null || Bun.which("dpkg-deb") === null)
    throw cannotFetch(toolsDir, "there is no apt here");
  say("Fetching nats-server from the system's package archive (once).");
  mkdirSync(toolsDir, { recursive: true });
  const work = mkdtempSync(join(resolve(toolsDir), "fetch-"));
  try {
    return unpack(download(work, toolsDir), work, resolve(toolsDir));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function cannotFetch(toolsDir: string, why: string): SetupError {
  return new SetupError(
    `nats-server is missing and could not be fetched (${why}): install the package "nats-server", ` +
      `put a nats-server binary (2.9 or newer) into ${resolve(toolsDir)}, or set NATS_URL.`,
  );
}

function download(work: string, toolsDir: string): string {
  const state = join(work, "state");
  const cache = join(work, "cache");
  for (const folder of [join(state, "lists", "partial"), join(cache, "archives", "partial")]) {
    mkdirSync(folder, { recursive: true });
  }
  // As root, apt would download as a user of its own, who may not be able to enter our folders.
  const own = ["-o", "APT::Sandbox::User=root"];
  const dirs = [
    "-o",
    `Dir::State=${state}`,
    "-o",
    `Dir::Cache=${cache}`,
    "-o",
    "Dir::State::status=/var/lib/dpkg/status",
  ];
  const attempts = [
    [["apt-get", "-qq", ...own, "download", "nats-server"]],
    [
      ["apt-get", "-qq", ...own, ...dirs, "update"],
      ["apt-get", "-qq", ...own, ...dirs, "download", "nats-server"],
    ],
  ];
  let why = "";
  for (const commands of attempts) {
    for (const command of commands) why = run(command, work) || why;
    const file = readdirSync(work).find((name) => name.endsWith(".deb"));
    if (file !== undefined) return join(work, file);
  }
  throw cannotFetch(toolsDir, why || "apt did not say why");
}

/** @returns the last line of what went wrong; empty if nothing did. */
function run(command: string[], cwd: string): string {
  const result = Bun.spawnSync(command, { cwd, stdout: "ignore", stderr: "pipe" });
  return result.exitCode === 0 ? "" : (result.stderr.toString().trim().split("\n").at(-1) ?? "");
}

function unpack(deb: string, work: string, toolsDir: string): string {
  const failure = run(["dpkg-deb", "-x", deb, join(work, "root")], work);
  if (failure !== "") throw cannotFetch(toolsDir, failure);
  const binary = join(toolsDir, "nats-server");
  copyFileSync(join(work, "root", "usr", "sbin", "nats-server"), binary);
  chmodSync(binary, 0o755);
  return binary;
}

/**
 * Starts `nats-server` with JetStream on 127.0.0.1. Ready in about 0.1 s.
 *
 * @throws SetupError if it does not start.
 */
export async function startNatsServer(options: NatsServerOptions): Promise<EmbeddedNats> {
  const storeDir = resolve(options.storeDir);
  const binary = options.binary ?? findNatsServer(join(storeDir, "..", "tools"));
  const run = join(storeDir, "run");
  rmSync(run, { recursive: true, force: true });
  mkdirSync(run, { recursive: true, mode: 0o700 });
  const config = join(run, "nats-server.conf");
  writeFileSync(config, configuration(storeDir, run, options));
  const server = startServerProcess([binary, "-c", config], { logPath: options.logPath, orphanSignal: "SIGTERM" });
  let ended: Ending | undefined;
  void server.exited.then((ending) => {
    ended = ending;
  });
  const port = await readPort(join(run, `nats-server_${server.pid}.ports`), () => ended !== undefined);
  if (port === undefined) {
    await server.stop("SIGKILL", 0);
    throw new SetupError(`nats-server did not start: ${tailOf(options.logPath, 1)}`);
  }
  return {
    url: `nats://127.0.0.1:${port}`,
    port,
    pid: server.pid,
    exited: server.exited,
    stop: () => server.stop("SIGTERM", 10_000),
    kill9: () => server.stop("SIGKILL", 0),
  };
}

function configuration(storeDir: string, run: string, options: NatsServerOptions): string {
  const quoted = (text: string) => JSON.stringify(text);
  return `listen: "127.0.0.1:${options.port ?? -1}"
ports_file_dir: ${quoted(run)}
jetstream {
  store_dir: ${quoted(storeDir)}
  max_memory_store: 67108864
  max_file_store: ${options.maxFileStoreBytes ?? 1024 ** 3}
}
${options.cluster ? clusterConfiguration(options.cluster) : ""}`;
}

function clusterConfiguration({ serverName, port, routes }: NatsClusterOptions): string {
  return `server_name: ${JSON.stringify(serverName)}
cluster {
  name: "leadcast"
  listen: "127.0.0.1:${port}"
  routes: [${routes.map((route) => `"nats-route://127.0.0.1:${route}"`).join(", ")}]
}
`;
}

/** The server writes its ports file when it listens, which is after JetStream has recovered. */
async function readPort(path: string, isGone: () => boolean): Promise<number | undefined> {
  const deadline = performance.now() + readyTimeoutMs;
  while (!isGone() && performance.now() < deadline) {
    const port = parsePort(path);
    if (port !== undefined) return port;
    await Bun.sleep(10);
  }
  return undefined;
}

function parsePort(path: string): number | undefined {
  try {
    const { nats } = JSON.parse(readFileSync(path, "utf8")) as { nats?: string[] };
    return nats?.[0] === undefined ? undefined : Number(new URL(nats[0]).port);
  } catch {
    return undefined;
  }
}
