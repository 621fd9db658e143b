import { describe, expect, test } from "bun:test";
import { connect, createServer, type Socket } from "node:net";
import postgres from "postgres";
import { askAboutBackends, dismissBackends, type OneConnection } from "#services/core/database/backends.ts";
import type { Doing } from "#services/core/database/watchdog.ts";
import { eventually } from "#test/support/eventually.ts";
import { createTestDatabase } from "#test/support/postgres.ts";

async function setup() {
  const database = await createTestDatabase();
  const clients: postgres.Sql[] = [];
  /** A client with one connection, and its backend. */
  const open = async (applicationName = "watched") => {
    const sql = postgres(database.url, { max: 1, connection: { application_name: applicationName } });
    clients.push(sql);
    const [row] = await sql<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
    const startedAt = performance.now();
    return { sql, backend: () => ({ pid: row!.pid, ageMs: performance.now() - startedAt }) };
  };
  const connectTo = (url: string) => (): OneConnection => {
    const sql = postgres(url, { max: 1, connection: { application_name: "watched" } });
    return { sql, close: () => sql.end({ timeout: 0 }) };
  };
  return {
    sql: database.sql,
    url: database.url,
    open,
    connectTo,
    connectOnce: connectTo(database.url),
    [Symbol.asyncDispose]: async () => {
      await Promise.all(clients.map((sql) => sql.end({ timeout: 0 })));
      await database.drop();
    },
  };
}

/** Leaves its transaction open, with a lock that others want. */
async function holdLock(sql: postgres.Sql): Promise<{ ended: Promise<string> }> {
  const held = Promise.withResolvers<void>();
  const never = Promise.withResolvers<void>();
  const ended = sql
    .begin(async (tx) => {
      await tx`SELECT pg_advisory_xact_lock(1)`;
      held.resolve();
      await never.promise;
    })
    .then(
      () => "committed",
      (error: { code: string }) => error.code,
    );
  await held.promise;
  return { ended };
}

describe("askAboutBackends", () => {
  test("tells who works, who waits for its client, and who is gone", async () => {
    await using world = await setup();
    const [idle, inside, asleep, blocked, ended] = [
      await world.open(),
      await world.open(),
      await world.open(),
      await world.open(),
      await world.open(),
    ];
    await ended.sql.end();
    await holdLock(inside.sql);
    const working = [asleep.sql`SELECT pg_sleep(60)`, blocked.sql`SELECT pg_advisory_lock(1)`];
    for (const query of working) query.catch(() => {});
    const asked = [idle, inside, asleep, blocked, ended].map(({ backend }) => backend());
    const expected: Doing[] = ["waiting", "waiting", "working", "working", "gone"];
    await eventually(async () => {
      expect(await askAboutBackends(world.connectOnce, asked)).toEqual(expected);
      return true;
    });
  });

  test("knows nothing behind a pooler, which makes up the pids", async () => {
    await using world = await setup();
    const idle = await world.open();
    await using pooler = await startPooler(world.url);
    expect(await askAboutBackends(world.connectTo(pooler.url), [idle.backend()])).toEqual(["unknown"]);
  });

  test("gives up on a Postgres that does not answer", async () => {
    await using world = await setup();
    await using silent = await startSilentServer(world.url);
    const startedAt = performance.now();
    const asked = askAboutBackends(world.connectTo(silent.url), [{ pid: 1, ageMs: 0 }]);
    await expect(asked).rejects.toThrow("does not answer");
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });
});

describe("dismissBackends", () => {
  test("ends what an absent client has left open, so that its locks are free", async () => {
    await using world = await setup();
    const left = await world.open();
    const { ended } = await holdLock(left.sql);
    await dismissBackends(world.connectOnce, [left.backend()]);
    expect(await ended).toBe("CONNECTION_CLOSED");
    await world.sql`SELECT pg_advisory_xact_lock(1)`;
  });

  test("leaves a backend alone that is at work, of another age, or another application's", async () => {
    await using world = await setup();
    const [working, older, other] = [await world.open(), await world.open(), await world.open("somebody else's")];
    const sleep = working.sql`SELECT 'slept' AS word FROM pg_sleep(1)`.execute();
    await eventually(async () => (await askAboutBackends(world.connectOnce, [working.backend()]))[0] === "working");
    const { pid, ageMs } = older.backend();
    await dismissBackends(world.connectOnce, [working.backend(), { pid, ageMs: ageMs + 60_000 }, other.backend()]);
    expect(await sleep).toMatchObject([{ word: "slept" }]);
    for (const { sql, backend } of [working, older, other]) {
      expect([...(await sql`SELECT pg_backend_pid() AS pid`)]).toEqual([{ pid: backend().pid }]);
    }
  });
});

/** Passes everything on but for the pid in BackendKeyData, as a pooler would. */
async function startPooler(url: string) {
  const backendKeyData = Buffer.from([0x4b, 0, 0, 0, 12]);
  return await startServer(url, (client) => {
    const target = connect(Number(new URL(url).port), "127.0.0.1");
    client.on("data", (bytes) => target.write(bytes));
    target.on("data", (bytes: Buffer) => {
      const at = bytes.indexOf(backendKeyData);
      if (at >= 0) bytes.writeUInt32BE(0x7abc_def0, at + backendKeyData.length);
      client.write(bytes);
    });
    client.on("close", () => target.destroy());
    target.on("error", () => client.destroy());
  });
}

async function startSilentServer(url: string) {
  return await startServer(url, () => {});
}

async function startServer(url: string, serve: (client: Socket) => void) {
  const clients = new Set<Socket>();
  const server = createServer((client) => {
    clients.add(client);
    client.on("error", () => {});
    serve(client);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  const address = server.address();
  const changed = new URL(url);
  changed.port = String(typeof address === "object" ? address?.port : 0);
  return {
    url: changed.href,
    [Symbol.asyncDispose]: async () => {
      for (const client of clients) client.destroy();
      server.close();
    },
  };
}
