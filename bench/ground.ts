/** What every row stands on: a Postgres with fsync on, `nats-server` and a folder, all of the bench's own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import postgres from "postgres";
import { createDatabase, migrate, type Sql } from "#services/core/database/client.ts";
import { type EmbeddedNats, findNatsServer, startNatsServer } from "#services/local/embedded/nats-server.ts";
import { type EmbeddedPostgres, startPostgres } from "#services/local/embedded/postgres.ts";
import { loadRpcTokens, loadSecretKeys } from "#services/local/supervisor/secrets.ts";
import type { RpcToken } from "#services/platform/variables.ts";

export interface BenchDatabase {
  readonly url: string;
  readonly sql: Sql;
  drop(): Promise<void>;
}

export interface BenchNats extends EmbeddedNats {
  readonly storeDir: string;
}

export interface Ground {
  readonly folder: string;
  readonly postgresPid: number;
  /** Every caller's token, and the keys that seal bot tokens. */
  readonly rpcTokens: readonly RpcToken[];
  readonly secretKeys: string;
  /** An empty database with every migration applied. */
  createDatabase(): Promise<BenchDatabase>;
  /** A server with an empty store. */
  startNats(): Promise<BenchNats>;
  stop(): Promise<void>;
}

const toolsDir = resolve(import.meta.dirname, "..", process.env.LEADCAST_DATA || ".data", "tools");

/** The settings are those of `npm start`; statements are counted, which costs the floors as much as us. */
const settings = { shared_preload_libraries: "pg_stat_statements", "pg_stat_statements.track": "top" };

export async function createGround(): Promise<Ground> {
  const folder = mkdtempSync(join(tmpdir(), "leadcast-bench-"));
  const binary = findNatsServer(toolsDir);
  const server = await startPostgres({ dataDir: join(folder, "pg"), logPath: join(folder, "postgres.log"), settings });
  const admin = postgres(server.url, { max: 1, onnotice: () => {} });
  let made = 0;
  return {
    folder,
    postgresPid: server.pid,
    rpcTokens: loadRpcTokens(join(folder, "rpc-tokens.json")),
    secretKeys: loadSecretKeys(join(folder, "secret-keys")),
    createDatabase: () => makeDatabase(server, admin, `bench_${++made}`),
    startNats: async () => {
      const storeDir = join(folder, `nats-${++made}`);
      const nats = await startNatsServer({ binary, storeDir, logPath: join(folder, "nats.log") });
      return { ...nats, storeDir };
    },
    stop: async () => {
      await admin.end();
      await server.stop();
      rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
    },
  };
}

async function makeDatabase(server: EmbeddedPostgres, admin: postgres.Sql, name: string): Promise<BenchDatabase> {
  await admin.unsafe(`CREATE DATABASE ${name}`);
  const url = Object.assign(new URL(server.url), { pathname: `/${name}` }).href;
  await migrate(url);
  const { sql, close } = createDatabase({ url, applicationName: "bench" });
  await sql`CREATE EXTENSION pg_stat_statements`;
  return {
    url,
    sql,
    drop: async () => {
      await close();
      await admin.unsafe(`DROP DATABASE ${name} WITH (FORCE)`);
    },
  };
}
