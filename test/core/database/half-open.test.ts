import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { sql as text } from "drizzle-orm";
import { startBroadcast } from "#services/broadcast/life-cycle.ts";
import { createDatabase, type Sql } from "#services/core/database/client.ts";
import { ticketOf } from "#services/core/ledger/settle.ts";
import { Settler } from "#services/delivery/settler.ts";
import { systemClock } from "#services/platform/clock.ts";
import { createTcpProxy } from "#test/chaos/tcp-proxy.ts";
import { expectConsistent } from "#test/support/consistent.ts";
import { createTestDatabase } from "#test/support/postgres.ts";
import { createWorld } from "#test/support/world.ts";

setDefaultTimeout(60_000);

/** What is promised: noticed within ten seconds, with some for a machine that is busy. */
const NOTICED_MS = 13_000;

/** A database client behind a proxy, another one straight to the same database, and a table with one row. */
async function setup(maxConnections = 3) {
  const database = await createTestDatabase();
  const proxy = await createTcpProxy(() => Number(new URL(database.url).port));
  const url = new URL(database.url);
  url.port = String(proxy.port);
  const client = createDatabase({ url: url.href, maxConnections });
  await database.sql`CREATE TABLE note (id int PRIMARY KEY, n int NOT NULL)`;
  await database.sql`INSERT INTO note VALUES (1, 0)`;
  return {
    direct: database.sql,
    url: url.href,
    proxy,
    client,
    sql: client.sql,
    /** Every connection that there may be, and idle. */
    openAll: () => Promise.all(Array.from({ length: maxConnections }, () => client.sql`SELECT pg_sleep(0.1)`)),
    [Symbol.asyncDispose]: async () => {
      await client.close();
      await proxy.stop();
      await database.drop();
    },
  };
}

async function failureOf(work: Promise<unknown>): Promise<{ code: unknown; ms: number }> {
  const startedAt = performance.now();
  const code = await work.then(
    () => "it did not fail",
    (error: { code?: unknown; cause?: { code?: unknown } }) => error.code ?? error.cause?.code,
  );
  return { code, ms: performance.now() - startedAt };
}

async function expectLost(work: Promise<unknown>): Promise<void> {
  const { code, ms } = await failureOf(work);
  expect(code).toBe("CONNECTION_CLOSED");
  expect(ms).toBeLessThan(NOTICED_MS);
}

/** As many statements as there are connections, so that none of them is left out. */
async function expectWell(sql: Sql, connections = 3): Promise<void> {
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: connections }, () => sql`SELECT 1`));
  expect(performance.now() - startedAt).toBeLessThan(2_000);
}

describe("a database client whose connections are half-open", () => {
  test.concurrent("fails a statement, then goes on with new connections for all", async () => {
    await using world = await setup();
    await world.openAll();
    world.proxy.halfOpen();
    await expectLost(world.sql`SELECT 1`.execute());
    await expectWell(world.sql);
  });

  test.concurrent("fails every statement when all of them hang, and those that wait for a connection not at all", async () => {
    await using world = await setup(2);
    await world.openAll();
    world.proxy.halfOpen();
    const hung = Array.from({ length: 2 }, () => world.sql.begin((tx) => tx`UPDATE note SET n = n + 1`));
    const behind = world.sql.begin((tx) => tx`SELECT 'well' AS word`);
    await Promise.all(hung.map(expectLost));
    expect(await behind).toMatchObject([{ word: "well" }]);
    const [row] = await world.direct<{ n: number }[]>`SELECT n FROM note`;
    expect(row!.n).toBe(0);
  });

  test.concurrent("fails a transaction between two statements, lets nothing more of it through, and frees its locks", async () => {
    await using world = await setup();
    const later: unknown[] = [];
    const work = world.sql.begin(async (tx) => {
      await tx`UPDATE note SET n = 1`;
      world.proxy.halfOpen();
      later.push((await failureOf(tx`UPDATE note SET n = 2`.execute())).code);
      later.push((await failureOf(tx`UPDATE note SET n = 3`.execute())).code);
    });
    await expectLost(work);
    await world.sql`UPDATE note SET n = n + 10`;
    const [row] = await world.direct<{ n: number }[]>`SELECT n FROM note`;
    expect([later, row!.n]).toEqual([["CONNECTION_CLOSED", "CONNECTION_CLOSED"], 10]);
  });

  test.concurrent("fails a COMMIT that was carried out, and does not repeat it", async () => {
    await using world = await setup();
    const work = world.sql.begin(async (tx) => {
      await tx`UPDATE note SET n = n + 1`;
      world.proxy.halfOpen();
    });
    await expectLost(work);
    await expectWell(world.sql);
    const [row] = await world.direct<{ n: number }[]>`SELECT n FROM note`;
    expect(row!.n).toBe(1);
  });

  test.concurrent("fails a BEGIN, and never enters that transaction", async () => {
    await using world = await setup(1);
    await world.openAll();
    world.proxy.halfOpen();
    let entered = 0;
    const work = world.sql.begin(async () => {
      entered++;
    });
    await expectLost(work);
    await world.sql.begin(async (tx) => await tx`UPDATE note SET n = 5`);
    expect(entered).toBe(0);
  });

  test.concurrent("fails statements that were sent one behind the other on one connection", async () => {
    await using world = await setup(1);
    await world.openAll();
    world.proxy.halfOpen();
    const hung = Array.from({ length: 3 }, () => world.sql`UPDATE note SET n = n + 1`.execute());
    await Promise.all(hung.map(expectLost));
    await world.sql`UPDATE note SET n = n + 10`;
    const [row] = await world.direct<{ n: number }[]>`SELECT n FROM note`;
    expect(row!.n).toBe(13);
  });

  test.concurrent("harms neither a long statement nor a long wait for a lock beside the one that hangs", async () => {
    await using world = await setup();
    const halved = Promise.withResolvers<void>();
    const hanging = world.sql.begin(async (tx) => {
      await tx`SELECT 1`;
      world.proxy.halfOpen();
      halved.resolve();
      await tx`SELECT 1`;
    });
    const lost = expectLost(hanging);
    await halved.promise;
    const locked = Promise.withResolvers<void>();
    const holder = world.direct.begin(async (tx) => {
      await tx`UPDATE note SET n = n + 1`;
      locked.resolve();
      await tx`SELECT pg_sleep(10)`;
    });
    await locked.promise;
    const others = Promise.all([
      world.sql`SELECT 'awake' AS word FROM pg_sleep(10)`,
      world.sql`UPDATE note SET n = n + 1 RETURNING 'written' AS word`,
    ]);
    await lost;
    expect(await others).toMatchObject([[{ word: "awake" }], [{ word: "written" }]]);
    await holder;
  });

  test.concurrent("heals drizzle's half as well", async () => {
    await using world = await setup();
    await world.client.db.execute(text`SELECT 1`);
    world.proxy.halfOpen();
    await expectLost(world.client.db.execute(text`SELECT 1`));
    expect(await world.client.db.execute(text`SELECT 'well' AS word`)).toMatchObject([{ word: "well" }]);
  });

  test.concurrent("can be closed within its five seconds", async () => {
    await using world = await setup();
    await world.openAll();
    world.proxy.halfOpen();
    const failure = failureOf(world.sql`SELECT 1`.execute());
    const startedAt = performance.now();
    await world.client.close();
    expect(performance.now() - startedAt).toBeLessThan(7_000);
    expect((await failure).code).toStartWith("CONNECTION_");
  });

  test.concurrent("keeps results that could not be written, and writes each of them once", async () => {
    await using world = await setup();
    const { sql } = world;
    const ledger = await createWorld(world.direct, { leads: 20 });
    const id = await ledger.addBroadcast();
    await startBroadcast(world.direct, ledger.accountId, id);
    const claimed = await ledger.claimQueued(id);
    await world.openAll();
    world.proxy.halfOpen();
    const [errors, acked]: [unknown[], number[]] = [[], []];
    const settler = new Settler({ sql, clock: systemClock, onError: (error) => errors.push(error) });
    for (const send of claimed) {
      settler.push({ ticket: ticketOf(send), result: { result: "sent", messageId: send.leadId } }, () =>
        acked.push(send.leadId),
      );
    }
    await settler.flush();
    expect(errors).toMatchObject([{ code: "CONNECTION_CLOSED" }]);
    expect(acked).toHaveLength(20);
    expect(await ledger.counters(id)).toMatchObject({ sent: 20, sending: 0 });
    await expectConsistent(world.direct);
  });

  test.concurrent("neither end a process nor keep it", async () => {
    await using world = await setup();
    const child = Bun.spawn([process.execPath, "-e", program], {
      cwd: join(import.meta.dirname, "../../.."),
      env: { ...process.env, DATABASE_URL: world.url },
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
    });
    const reader = child.stdout.getReader();
    await reader.read();
    world.proxy.halfOpen();
    child.stdin.write("go\n");
    child.stdin.flush();
    const { value } = await reader.read();
    expect(new TextDecoder().decode(value)).toBe(`${"CONNECTION_CLOSED ".repeat(4).trim()} well\n`);
    expect([await child.exited, await new Response(child.stderr).text()]).toEqual([0, ""]);
  });
});

/** Hangs in a statement, in a transaction that catches and goes on, in BEGIN, and in a statement that nobody waits for. */
const program = `
  import { createDatabase } from "#services/core/database/client.ts";
  createDatabase({ url: process.env.DATABASE_URL });
  const { sql, close } = createDatabase({ url: process.env.DATABASE_URL, maxConnections: 4 });
  const codeOf = (work) => work.then(() => "well", (error) => error.code);
  let open = () => {};
  const opened = new Promise((resolve) => { open = resolve; });
  const inside = codeOf(sql.begin(async (tx) => {
    await tx\`SELECT 1\`;
    await opened;
    const swallowed = [tx\`SELECT 1\`.catch(() => {}), tx\`SELECT 2\`.catch(() => {})];
    await Promise.all(swallowed);
    await tx\`SELECT 3\`;
  }));
  await Promise.all([1, 2, 3].map(() => sql\`SELECT pg_sleep(0.1)\`));
  console.log("open");
  for await (const _ of console) break;
  open();
  const codes = await Promise.all([inside, codeOf(sql.begin(() => {})), codeOf(sql\`SELECT 1\`), codeOf(sql\`SELECT 1\`)]);
  console.log(codes.join(" "), await codeOf(sql\`SELECT 1\`));
  await close();
`;
