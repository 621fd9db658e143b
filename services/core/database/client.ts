import { join } from "node:path";
import { drizzle, type PostgresJsDatabase } from "drizzle-orm/postgres-js";
import { migrate as runMigrations } from "drizzle-orm/postgres-js/migrator";
import postgres from "postgres";
import { recordChanges } from "#services/core/audit/record.ts";
import { type Clock, systemClock } from "#services/platform/clock.ts";
import { askAboutBackends, dismissBackends, type OneConnection } from "./backends.ts";
import { driverOptions } from "./driver-options.ts";
import * as schema from "./schema/index.ts";
import { LOOK_INTERVAL_MS, Watchdog, type WatchedConnection } from "./watchdog.ts";

/** Raw statements: ids come as numbers, moments as Dates, days as strings. Hot paths use this one, prepared. */
export type Sql = postgres.Sql<{ bigint: number }>;
/** A transaction on `Sql`. */
export type TransactionSql = postgres.TransactionSql<{ bigint: number }>;
/** What either of them runs. */
export type Queryable = postgres.ISql<{ bigint: number }>;
/** A part of a statement, made by a client's template and run as part of another one. */
export type Fragment = postgres.PendingQuery<postgres.Row[]>;
/** Drizzle's query builder over the same database. */
export type Drizzle = PostgresJsDatabase<typeof schema>;

export interface Database {
  sql: Sql;
  db: Drizzle;
  /** Waits up to 5 s for what is under way, then leaves nothing open. Safe twice. */
  close(): Promise<void>;
}

export interface DatabaseOptions {
  url: string;
  /** Connections at most, for each of the two clients; default 10. */
  maxConnections?: number;
  /** Shown in pg_stat_activity. */
  applicationName?: string;
  /** False behind a pooler in transaction mode that cannot keep prepared statements. */
  prepare?: boolean;
  /**
   * How long a statement may be silent while Postgres cannot be asked whether it works on it: behind a pooler, and while no new
   * connection is to be had. Default 5 minutes: the longest Start takes one.
   */
  patienceMs?: number;
}

const PATIENCE_MS = 300_000;
const MAX_CONNECTIONS = 10;
const CONNECT_TIMEOUT_SECONDS = 5;
/** For the answers to a close that was asked for, and for a greeting. */
const CLOSE_TIMEOUT_SECONDS = 5;

/** The oldest major version that has what the statements use (RETURNING old.…). */
const MINIMUM_VERSION = 180_000;

/**
 * Two clients, because drizzle changes the parsers of the one it is given. A connection is made when it is first needed,
 * so this neither waits nor fails while Postgres is away. One that stops answering is given up within about 8 s (see
 * watchdog.ts): what was under way on it fails with CONNECTION_CLOSED, and what comes next gets a new one.
 *
 * Each transaction that is begun while an RPC is served ends with its audit entry (services/core/audit/record.ts).
 */
export function createDatabase(options: DatabaseOptions): Database {
  const connectOnce = () => openOne(options);
  const watchdog = new Watchdog({
    monotonicMs: () => performance.now(),
    ask: (backends) => askAboutBackends(connectOnce, backends),
    dismiss: (backends) => dismissBackends(connectOnce, backends),
    patienceMs: options.patienceMs ?? PATIENCE_MS,
  });
  const watch = (connection: WatchedConnection) => watchdog.watch(connection);
  const drizzleClient = recordChanges(connect(options, watch));
  const sql = recordChanges(connect(options, watch));
  const looks = setInterval(() => void watchdog.look(), LOOK_INTERVAL_MS).unref();
  return {
    sql,
    db: drizzle(drizzleClient, { schema }),
    close: async () => {
      const timeout = CLOSE_TIMEOUT_SECONDS;
      await Promise.all([sql.end({ timeout }), drizzleClient.end({ timeout })]);
      clearInterval(looks);
      watchdog.loseAll();
    },
  };
}

function connect(options: DatabaseOptions, watch: (connection: WatchedConnection) => void): Sql {
  let shown = 0;
  const settings = {
    ...driverOptions(options.url, {
      maxConnections: options.maxConnections ?? MAX_CONNECTIONS,
      prepare: options.prepare ?? true,
      applicationName: options.applicationName ?? "leadcast",
      connectTimeoutSeconds: CONNECT_TIMEOUT_SECONDS,
    }),
    // A connection that broke is tried again soon: sending waits for it.
    backoff: (attempt: number) => Math.min(0.05 * 2 ** attempt, 1),
    onnotice: () => {},
    onconnection: (connection: WatchedConnection) => {
      shown++;
      watch(connection);
    },
    types: {
      bigint: { to: 20, from: [20], parse: Number, serialize: String },
      date: { to: 1082, from: [1082], parse: (text: string) => text, serialize: (text: string) => text },
    } as unknown as Record<"bigint", postgres.PostgresType<number>>,
  };
  const sql = postgres(settings as postgres.Options<{ bigint: postgres.PostgresType<number> }>) as unknown as Sql;
  if (shown === 0) throw new Error("The package postgres lacks its repairs: run node scripts/patches.mjs.");
  return sql;
}

/** A connection for one question, that looks like the others to Postgres. */
function openOne(options: DatabaseOptions): OneConnection {
  const opened: WatchedConnection[] = [];
  const sql = connect({ ...options, maxConnections: 1, prepare: false }, (connection) => opened.push(connection));
  return {
    sql: sql as unknown as postgres.Sql,
    close: async () => {
      await sql.end({ timeout: 1 }).catch(() => {});
      for (const connection of opened) connection.lose();
    },
  };
}

/**
 * Brings the schema up to date. Several processes may call it at once: the first one works, the others come back until
 * its advisory lock is free and find nothing left to do.
 *
 * The lock belongs to a transaction, and not to a session: behind a pooler in transaction mode a session is nobody's. And
 * nobody waits inside of one: those who wait would keep the pool's connections from the one who works.
 *
 * @param onWarning is told what a migration found and changed in the data, in a sentence for the log.
 */
export async function migrate(
  databaseUrl: string,
  onWarning: (sentence: string) => void = () => {},
  clock: Clock = systemClock,
): Promise<void> {
  const onnotice = ({ severity, message }: postgres.Notice) => {
    if (severity === "WARNING") onWarning(message!);
  };
  const settings = driverOptions(databaseUrl, {
    maxConnections: 1,
    prepare: false,
    applicationName: "leadcast-migration",
    connectTimeoutSeconds: CONNECT_TIMEOUT_SECONDS,
  });
  const connectOnce = () =>
    postgres({ ...settings, onnotice } as postgres.Options<Record<string, postgres.PostgresType>>);
  const [lock, client] = [connectOnce(), connectOnce()];
  const tryOnce = () =>
    lock.begin(async (tx) => {
      const [row] = await tx`SELECT pg_try_advisory_xact_lock(${MIGRATION_LOCK}) AS mine`;
      if (row!.mine)
        await runMigrations(drizzle(client), { migrationsFolder: join(import.meta.dirname, "migrations") });
      return row!.mine as boolean;
    });
  try {
    while (!(await tryOnce())) await clock.sleep(MIGRATION_POLL_MS);
  } finally {
    await Promise.all([lock.end({ timeout: 5 }), client.end({ timeout: 5 })]);
  }
}

/** Any fixed number that nothing else locks. */
const MIGRATION_LOCK = 7_315_001;

/** A database that is up to date is found to be so in some 10 ms. */
const MIGRATION_POLL_MS = 50;

/**
 * What the promises rest on: a version that has the statements' features, and commits that survive a crash.
 * @returns one sentence for each thing that is not as it must be.
 */
export async function checkDatabase(sql: Sql, options: { requireDurability: boolean }): Promise<string[]> {
  const [row] = await sql<{ version: number; fsync: string; synchronousCommit: string }[]>`
    SELECT current_setting('server_version_num')::int AS version, current_setting('fsync') AS fsync,
      current_setting('synchronous_commit') AS "synchronousCommit"`;
  const problems: string[] = [];
  if (row!.version < MINIMUM_VERSION) {
    problems.push(`Postgres ${Math.floor(row!.version / 10_000)} is too old: Leadcast needs version 18 or newer.`);
  }
  if (options.requireDurability && row!.fsync !== "on") {
    problems.push("Postgres runs with fsync=off: a crash could lose what was sent. Set fsync=on.");
  }
  if (options.requireDurability && row!.synchronousCommit === "off") {
    problems.push("Postgres runs with synchronous_commit=off: a crash could lose what was sent. Set it to on.");
  }
  return problems;
}
