import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { drizzle } from "drizzle-orm/postgres-js";
import { migrate as runMigrations } from "drizzle-orm/postgres-js/migrator";
import postgres from "postgres";
import { createDatabase, type Database, migrate, type Sql } from "#services/core/database/client.ts";
import { startPostgres } from "#services/local/embedded/postgres.ts";
import { temporaryFolder } from "./folder.ts";

export interface TestDatabase {
  url: string;
  /** A client of this database, closed by `drop`. */
  sql: Sql;
  /** The same with drizzle. */
  database: Database;
  /** Ends every connection to it and removes it. */
  drop(): Promise<void>;
}

/** Fast, and worthless after a crash. */
export const throwAwaySettings = { fsync: "off", full_page_writes: "off", wal_level: "minimal", max_wal_senders: "0" };

/** Whoever makes the template holds it; any fixed number that the migrations do not lock. */
const templateLock = 7_315_100;
const template = "leadcast_template";

const migrationsFolder = join(import.meta.dirname, "../../services/core/database/migrations");

let admin: Promise<postgres.Sql> | undefined;
let made = 0;

/**
 * A database of the test's own with every migration applied: a clone of a template that is migrated once per cluster.
 * The cluster is `npm test`'s (TEST_DATABASE_ADMIN_URL), or one that this process starts when first asked and takes
 * with it when it ends.
 */
export async function createTestDatabase(): Promise<TestDatabase> {
  return await openTestDatabase((sql, name) => sql.unsafe(`CREATE DATABASE ${name} TEMPLATE ${template}`));
}

/** A database as it was before this migration and all later ones, for tests of what they do to data. */
export async function createDatabaseBefore(migration: string): Promise<TestDatabase> {
  return await openTestDatabase(async (sql, name) => {
    await sql.unsafe(`CREATE DATABASE ${name}`);
    const client = postgres(urlOf(sql, name), { max: 1, onnotice: () => {} });
    try {
      await runMigrations(drizzle(client), { migrationsFolder: migrationsBefore(migration) });
    } finally {
      await client.end();
    }
  });
}

/** A folder with the migrations before this one. */
function migrationsBefore(migration: string): string {
  const folder = temporaryFolder("migrations");
  cpSync(migrationsFolder, folder, { recursive: true });
  const path = join(folder, "meta", "_journal.json");
  const journal = JSON.parse(readFileSync(path, "utf8")) as { entries: { tag: string }[] };
  const index = journal.entries.findIndex(({ tag }) => tag === migration);
  if (index < 0) throw new Error(`There is no migration ${migration}.`);
  writeFileSync(path, JSON.stringify({ ...journal, entries: journal.entries.slice(0, index) }));
  return folder;
}

async function openTestDatabase(make: (sql: postgres.Sql, name: string) => Promise<unknown>): Promise<TestDatabase> {
  admin ??= connectAdmin();
  const sql = await admin;
  const name = `test_${process.pid}_${++made}`;
  await make(sql, name);
  const url = urlOf(sql, name);
  const database = createDatabase({ url, applicationName: "test" });
  return {
    url,
    sql: database.sql,
    database,
    drop: async () => {
      await database.close();
      await sql.unsafe(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    },
  };
}

async function connectAdmin(): Promise<postgres.Sql> {
  const url = process.env.TEST_DATABASE_ADMIN_URL ?? (await startCluster());
  const sql = postgres(url, { max: 4, onnotice: () => {} });
  await makeTemplate(sql);
  return sql;
}

async function startCluster(): Promise<string> {
  const folder = temporaryFolder("postgres");
  const cluster = await startPostgres({
    dataDir: join(folder, "data"),
    logPath: join(folder, "postgres.log"),
    settings: throwAwaySettings,
  });
  return cluster.url;
}

/** Test processes that share a cluster may all come here at once: the first one works, the others wait for its lock. */
async function makeTemplate(sql: postgres.Sql): Promise<void> {
  const holder = await sql.reserve();
  try {
    await holder`SELECT pg_advisory_lock(${templateLock})`;
    const known = await holder`SELECT 1 FROM pg_database WHERE datname = ${template}`;
    if (known.length > 0) return;
    await holder.unsafe(`DROP DATABASE IF EXISTS ${template}_new WITH (FORCE)`);
    await holder.unsafe(`CREATE DATABASE ${template}_new`);
    await migrate(urlOf(sql, `${template}_new`));
    await holder.unsafe(`ALTER DATABASE ${template}_new RENAME TO ${template}`);
  } finally {
    await holder`SELECT pg_advisory_unlock(${templateLock})`;
    holder.release();
  }
}

function urlOf(sql: postgres.Sql, database: string): string {
  const { host, port, user, pass } = sql.options;
  return `postgres://${user}:${pass}@${host[0]}:${port[0]}/${database}`;
}
