import { afterEach, describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import postgres from "postgres";
import { type EmbeddedPostgres, startPostgres } from "#services/local/embedded/postgres.ts";
import { eventually } from "#test/support/eventually.ts";
import { temporaryFolder } from "#test/support/folder.ts";
import { throwAwaySettings } from "#test/support/postgres.ts";

const running: EmbeddedPostgres[] = [];

async function start(folder: string): Promise<EmbeddedPostgres> {
  const server = await startPostgres({
    dataDir: join(folder, "data"),
    logPath: join(folder, "postgres.log"),
    settings: throwAwaySettings,
  });
  running.push(server);
  return server;
}

async function query<T>(url: string, statement: string): Promise<T[]> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    return (await sql.unsafe(statement)) as unknown as T[];
  } finally {
    await sql.end({ timeout: 5 });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe("startPostgres", () => {
  afterEach(async () => {
    await Promise.all(running.splice(0).map((server) => server.stop()));
  });

  test("keeps its data from one start to the next, behind a password that only the owner can read", async () => {
    const folder = temporaryFolder("pg-test");
    const first = await start(folder);
    await query(first.url, "CREATE TABLE kept AS SELECT 42 AS answer");
    await first.stop();
    const second = await start(folder);
    expect(await query<{ answer: number }>(second.url, "SELECT answer FROM kept")).toEqual([{ answer: 42 }]);
    expect(statSync(join(folder, "data", "password")).mode & 0o777).toBe(0o600);
    await expect(query(second.url.replace(/:[0-9a-f]+@/, ":wrong@"), "SELECT 1")).rejects.toThrow(/password/);
  });

  test("starts again after the server was killed with -9", async () => {
    const folder = temporaryFolder("pg-test");
    const first = await start(folder);
    process.kill(first.pid, "SIGKILL");
    await first.exited;
    const second = await start(folder);
    expect(await query<{ one: number }>(second.url, "SELECT 1 AS one")).toEqual([{ one: 1 }]);
  });

  test("says that the folder is in use while another one runs on it", async () => {
    const folder = temporaryFolder("pg-test");
    await start(folder);
    await expect(start(folder)).rejects.toThrow(/is in use by another running Leadcast \(process \d+\)/);
  });

  test("ends when its owner is killed with -9, and the folder is free again", async () => {
    const folder = temporaryFolder("pg-test");
    const script = `
      const { startPostgres } = await import(${JSON.stringify(import.meta.resolve("#services/local/embedded/postgres.ts"))});
      const server = await startPostgres(${JSON.stringify({
        dataDir: join(folder, "data"),
        logPath: join(folder, "postgres.log"),
        settings: throwAwaySettings,
      })});
      console.log(server.pid);
      await Bun.sleep(60_000);`;
    const owner = Bun.spawn([process.execPath, "-e", script], {
      stdout: "pipe",
      cwd: join(import.meta.dir, "../../.."),
    });
    const { value } = await owner.stdout.getReader().read();
    const pid = Number(new TextDecoder().decode(value));
    owner.kill("SIGKILL");
    await owner.exited;
    await eventually(() => !isAlive(pid));
    const next = await start(folder);
    expect(next.pid).not.toBe(pid);
  });
});
