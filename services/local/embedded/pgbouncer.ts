import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import postgres from "postgres";
import { freePort } from "./ports.ts";
import { startServerProcess, tailOf } from "./server-process.ts";
import { SetupError } from "./setup-error.ts";
import { unprivileged } from "./unprivileged.ts";

/** For measuring and testing behind a pooler; `npm start` needs none. */
export interface PgbouncerOptions {
  /** From `installedPgbouncer`. */
  binary: string;
  /** Of a database of the server that it stands in front of, with the password; the server's others are reached too. */
  databaseUrl: string;
  /** For its configuration, which holds the password (mode 600), and its log. */
  folder: string;
  /** Connections to Postgres at most, for each database; default 20. */
  poolSize?: number;
}

export interface Pgbouncer {
  /** As `databaseUrl`, through the pooler. */
  readonly url: string;
  readonly pid: number;
  /** Ends it and its connections at once. Safe twice. */
  stop(): Promise<void>;
}

const readyTimeoutMs = 10_000;

/** @returns the first `pgbouncer` on PATH or in the usual places. */
export function installedPgbouncer(): string | undefined {
  return (
    Bun.which("pgbouncer", { PATH: `${process.env.PATH ?? ""}:/usr/sbin:/usr/local/bin:/usr/local/sbin` }) ?? undefined
  );
}

/**
 * Starts PgBouncer in transaction mode on 127.0.0.1. Ready in about 0.1 s.
 *
 * @throws SetupError if it does not start.
 */
export async function startPgbouncer(options: PgbouncerOptions): Promise<Pgbouncer> {
  const folder = resolve(options.folder);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const port = await freePort();
  const as = unprivileged([folder]);
  const ini = join(folder, "pgbouncer.ini");
  const users = join(folder, "users.txt");
  const database = new URL(options.databaseUrl);
  writeFileSync(users, `"${database.username}" "${decodeURIComponent(database.password)}"\n`, { mode: 0o600 });
  writeFileSync(ini, configuration(database, users, port, options.poolSize ?? 20), { mode: 0o600 });
  const logPath = join(folder, "pgbouncer.log");
  const server = startServerProcess([...as.prefix, options.binary, ini], { logPath, orphanSignal: "SIGTERM" });
  const url = Object.assign(new URL(database), { hostname: "127.0.0.1", port: String(port) }).href;
  // SIGTERM is PgBouncer's immediate shutdown.
  const stop = () => server.stop("SIGTERM", 5_000);
  try {
    await answers(url, server.exited);
  } catch (cause) {
    await stop();
    throw new SetupError(`PgBouncer did not start: ${tailOf(logPath, 2)}`, { cause });
  }
  return { url, pid: server.pid, stop };
}

function configuration({ hostname, port }: URL, users: string, listenPort: number, poolSize: number): string {
  return `[databases]
* = host=${hostname} port=${port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${listenPort}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${users}
pool_mode = transaction
default_pool_size = ${poolSize}
max_client_conn = 1000
server_login_retry = 1
query_wait_timeout = 10
log_connections = 0
log_disconnections = 0
`;
}

async function answers(url: string, gone: Promise<unknown>): Promise<void> {
  let ended = false;
  void gone.then(() => {
    ended = true;
  });
  const sql = postgres(url, { max: 1, prepare: false, fetch_types: false, connect_timeout: 2, backoff: () => 0.02 });
  const deadline = performance.now() + readyTimeoutMs;
  try {
    for (;;) {
      const failure = await sql`SELECT 1`.then(
        () => undefined,
        (error: unknown) => error,
      );
      if (failure === undefined) return;
      if (ended || performance.now() > deadline) throw failure;
      await Bun.sleep(20);
    }
  } finally {
    await sql.end({ timeout: 1 });
  }
}
