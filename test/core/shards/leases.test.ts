import { afterEach, describe, expect, test } from "bun:test";
import postgres from "postgres";
import { startBroadcast } from "#services/broadcast/life-cycle.ts";
import type { Sql } from "#services/core/database/client.ts";
import { SHARD_COUNT } from "#services/core/ledger/send.ts";
import { LeaseKeeper, type LeaseKeeperOptions, LeaseRole } from "#services/core/shards/leases.ts";
import type { Clock } from "#services/platform/clock.ts";
import { eventually } from "#test/support/eventually.ts";
import { holdCommits, holdLock } from "#test/support/held-transaction.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { createWorld, inWords } from "#test/support/world.ts";

const databases: TestDatabase[] = [];
afterEach(async () => {
  for (const database of databases.splice(0)) await database.drop();
});

async function newDatabase(): Promise<TestDatabase> {
  const database = await createTestDatabase();
  databases.push(database);
  return database;
}

/** Time that stands until it is turned; a sleep lasts until it is aborted. */
function createFakeClock() {
  let ms = 0;
  const clock: Clock = {
    now: () => ms,
    monotonicMs: () => ms,
    sleep: async (_, signal) => {
      if (signal?.aborted || !signal) return;
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    },
  };
  return { ...clock, turn: (by: number) => (ms += by) };
}

interface ReplicaOptions extends Partial<LeaseKeeperOptions> {
  sql: Sql;
  name: string;
}

/** One replica whose rounds the test makes. */
function createReplica(options: ReplicaOptions) {
  const clock = createFakeClock();
  const events: string[] = [];
  const keeper = new LeaseKeeper({
    role: LeaseRole.delivery,
    clock,
    onAcquired: (shards) => events.push(`acquired ${shards.length}`),
    onLost: (shards) => events.push(`lost ${shards.length}`),
    ...options,
  });
  return { keeper, clock, events, name: options.name, shards: () => [...keeper.fences().keys()].sort((a, b) => a - b) };
}

interface LeaseRow {
  shard: number;
  owner: string | null;
  fence: number;
}

async function leases(sql: Sql): Promise<LeaseRow[]> {
  const rows = await sql<LeaseRow[]>`SELECT shard, owner, fence FROM shard_lease WHERE role = 2 ORDER BY shard`;
  return [...rows];
}

/** A crash, seen from the others: nothing is renewed, and the time is over. */
async function expire(sql: Sql, name: string): Promise<void> {
  await sql`UPDATE shard_lease SET expires_at = now() - interval '1 ms' WHERE owner = ${name}`;
  await sql`UPDATE replica SET expires_at = now() - interval '1 ms' WHERE name = ${name}`;
}

/** Rounds of all replicas in turn until each holds its share, or for ever. @returns how many rounds. */
async function untilBalanced(replicas: ReturnType<typeof createReplica>[]): Promise<number> {
  let rounds = 0;
  await eventually(async () => {
    rounds++;
    for (const replica of replicas) await replica.keeper.tick();
    const held = replicas.flatMap((replica) => replica.shards());
    const most = Math.max(...replicas.map((replica) => replica.shards().length));
    return held.length === SHARD_COUNT && most <= Math.ceil(SHARD_COUNT / replicas.length);
  });
  return rounds;
}

describe("a lease", () => {
  test("is taken on every shard by a replica that is alone, and renewed under the same fence", async () => {
    const { sql } = await newDatabase();
    const one = createReplica({ sql, name: "one" });
    await one.keeper.tick();
    await one.keeper.tick();
    expect(one.shards()).toHaveLength(SHARD_COUNT);
    expect(await leases(sql)).toEqual(one.shards().map((shard) => ({ shard, owner: "one", fence: 1 })));
    expect(one.events).toEqual([`acquired ${SHARD_COUNT}`]);
  });

  test("is not taken on a shard that there was in another version", async () => {
    const { sql } = await newDatabase();
    await sql`INSERT INTO shard_lease (role, shard) VALUES (${LeaseRole.delivery}, ${SHARD_COUNT})`;
    const one = createReplica({ sql, name: "one" });
    await one.keeper.tick();
    expect(one.shards()).toEqual(Array.from({ length: SHARD_COUNT }, (_, shard) => shard));
  });

  test("is not given to another while it lasts", async () => {
    const { sql } = await newDatabase();
    const one = createReplica({ sql, name: "one" });
    const other = createReplica({ sql, name: "other" });
    await one.keeper.tick();
    await other.keeper.tick();
    expect(other.shards()).toEqual([]);
  });

  test("passes to another under a higher fence when it has expired, and its old owner stops when it looks", async () => {
    const { sql } = await newDatabase();
    const one = createReplica({ sql, name: "one" });
    const other = createReplica({ sql, name: "other" });
    await one.keeper.tick();
    await expire(sql, "one");
    await other.keeper.tick();
    expect(other.shards()).toHaveLength(SHARD_COUNT);
    expect(new Set((await leases(sql)).map((row) => row.fence))).toEqual(new Set([2]));
    await one.keeper.tick();
    expect(one.shards()).toEqual([]);
    expect(one.events).toContain(`lost ${SHARD_COUNT}`);
  });

  test("is believed in only until a deadline counted from before it was asked for", async () => {
    const { sql } = await newDatabase();
    const one = createReplica({ sql, name: "one", ttlMs: 4000 });
    await one.keeper.tick();
    one.clock.turn(3999);
    expect(one.keeper.holds(5)).toBe(true);
    one.clock.turn(1);
    expect(one.keeper.holds(5)).toBe(false);
    expect(one.shards()).toEqual([]);
    await one.keeper.tick();
    expect(one.keeper.holds(5)).toBe(true);
  });

  test("whose renewal is answered late counts from when it was asked for", async () => {
    const { sql } = await newDatabase();
    const one = createReplica({ sql, name: "one", ttlMs: 4000 });
    await one.keeper.tick();
    const release = await holdLock(sql, (tx) => tx`SELECT FROM shard_lease WHERE shard = 7 FOR UPDATE`);
    one.clock.turn(1000);
    const round = one.keeper.tick();
    const waiting = () => sql`
      SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`;
    await eventually(async () => (await waiting()).length > 0);
    one.clock.turn(2500);
    await release();
    await round;
    one.clock.turn(1499);
    expect(one.keeper.holds(7)).toBe(true);
    one.clock.turn(1);
    expect(one.keeper.holds(7)).toBe(false);
  });

  test("of another role is another lease", async () => {
    const { sql } = await newDatabase();
    const delivery = createReplica({ sql, name: "delivery" });
    const relay = createReplica({ sql, name: "relay", role: LeaseRole.relay });
    await delivery.keeper.tick();
    await relay.keeper.tick();
    expect(relay.shards()).toHaveLength(SHARD_COUNT);
  });
});

describe("a claim that is under way", () => {
  /** The pretend delivery's own claim, which holds the leases of two shards until it commits. */
  async function setup() {
    const { sql } = await newDatabase();
    const world = await createWorld(sql, { bots: 2, leads: 2 });
    const id = await world.addBroadcast();
    await startBroadcast(sql, world.accountId, id);
    const held = holdCommits(sql);
    const claim = world.claim(await world.jobs(id), { sql: held.sql });
    await held.reached;
    const finish = async () => {
      held.release();
      return inWords(await claim);
    };
    return { sql, finish };
  }

  test("does not hold up its own replica's renewals", async () => {
    const { sql, finish } = await setup();
    const one = createReplica({ sql, name: "pretend" });
    await one.keeper.tick();
    expect(one.shards()).toHaveLength(SHARD_COUNT);
    expect(await finish()).toEqual(["claimed", "claimed"]);
  });

  test("keeps its expired lease from passing on before it has ended", async () => {
    const { sql, finish } = await setup();
    await sql`UPDATE shard_lease SET expires_at = now() - interval '1 s'`;
    const one = createReplica({ sql, name: "one" });
    await one.keeper.tick();
    expect(one.shards()).toEqual([]);
    await finish();
    await one.keeper.tick();
    expect(one.shards()).toHaveLength(SHARD_COUNT);
  });
});

describe("replicas", () => {
  test.each([2, 3, 5])("of which there are %d share all shards evenly, each owned once", async (n) => {
    const { sql } = await newDatabase();
    const replicas = Array.from({ length: n }, (_, i) => createReplica({ sql, name: `replica ${i}` }));
    expect(await untilBalanced(replicas)).toBeLessThan(10);
    const owners = Object.groupBy(await leases(sql), (row) => row.owner ?? "nobody");
    const shares = Object.values(owners).map((rows) => rows!.length);
    expect(Math.max(...shares)).toBeLessThanOrEqual(Math.ceil(SHARD_COUNT / n));
    expect(shares.reduce((sum, share) => sum + share, 0)).toBe(SHARD_COUNT);
    for (const replica of replicas) {
      expect(owners[replica.name]!.map((row) => row.shard)).toEqual(replica.shards());
    }
  });

  test("that stay take the share of one that crashed", async () => {
    const { sql } = await newDatabase();
    const replicas = ["a", "b", "c"].map((name) => createReplica({ sql, name }));
    await untilBalanced(replicas);
    await expire(sql, "b");
    expect(await untilBalanced([replicas[0]!, replicas[2]!])).toBeLessThan(5);
  });

  test("take no more than they asked for, whatever plan Postgres makes", async () => {
    const { sql } = await newDatabase();
    await sql.unsafe(`ALTER DATABASE ${await nameOf(sql)} SET enable_hashjoin = off`);
    await sql.unsafe(`ALTER DATABASE ${await nameOf(sql)} SET enable_mergejoin = off`);
    await sql.unsafe(`ALTER DATABASE ${await nameOf(sql)} SET enable_material = off`);
    const fresh = postgres((databases.at(-1) as TestDatabase).url, { onnotice: () => {} }) as unknown as Sql;
    await fresh`INSERT INTO replica (role, name, expires_at) SELECT 2, 'other ' || i, now() + interval '1 h'
      FROM generate_series(1, 3) AS i`;
    const one = createReplica({ sql: fresh, name: "one" });
    await one.keeper.tick();
    expect(one.shards()).toHaveLength(SHARD_COUNT / 4);
    await fresh.end();
  });
});

async function nameOf(sql: Sql): Promise<string> {
  const [row] = await sql<{ name: string }[]>`SELECT current_database() AS name`;
  return row!.name;
}

describe("a handover", () => {
  /** One that holds everything, and another that has announced itself. */
  async function setup(drain: (shards: number[]) => Promise<void>) {
    const { sql } = await newDatabase();
    const one = createReplica({ sql, name: "one", drain });
    const other = createReplica({ sql, name: "other" });
    await one.keeper.tick();
    await other.keeper.tick();
    return { sql, one, other };
  }

  test("drains first: until that is over its lease is held and renewed, and nobody else gets it", async () => {
    const drained = Promise.withResolvers<void>();
    const asked: number[] = [];
    const { sql, one, other } = await setup(async (shards) => {
      asked.push(...shards);
      await drained.promise;
    });
    for (let i = 0; i < 3; i++) {
      one.clock.turn(2000);
      await one.keeper.tick();
      await other.keeper.tick();
    }
    // Asked once, for the half that it has too much of, and still holding it.
    expect(asked).toHaveLength(SHARD_COUNT / 2);
    expect(one.shards()).toHaveLength(SHARD_COUNT);
    expect(other.shards()).toEqual([]);
    drained.resolve();
    await eventually(async () => (await leases(sql)).filter((row) => row.owner === null).length === SHARD_COUNT / 2);
    await other.keeper.tick();
    expect(other.shards()).toEqual(asked.sort((a, b) => a - b));
    await one.keeper.tick();
    expect(one.shards()).toHaveLength(SHARD_COUNT / 2);
    expect(one.events).toEqual([`acquired ${SHARD_COUNT}`]);
  });

  test("that could not be drained is tried again", async () => {
    let attempts = 0;
    const { one, other } = await setup(async () => {
      if (++attempts === 1) throw new Error("not now");
    });
    expect(await untilBalanced([one, other])).toBeLessThan(10);
    expect(attempts).toBe(2);
  });

  test("that could not be drained is begun anew where nobody needs its shards any more", async () => {
    const { one, other } = await setup(async () => {
      throw new Error("not now");
    });
    await one.keeper.tick();
    await other.keeper.stop();
    await eventually(async () => {
      await one.keeper.tick();
      return one.events.filter((event) => event.startsWith("acquired")).length === 2;
    });
    expect(one.shards()).toHaveLength(SHARD_COUNT);
    expect(one.events).not.toContain(`lost ${SHARD_COUNT / 2}`);
  });

  test("does not make a replica ask for more than its share while it is under way", async () => {
    const { sql } = await newDatabase();
    // Long, so that no lease lapses on a slow machine while the others tick.
    const [one, ...others] = ["one", "two", "three"].map((name) => createReplica({ sql, name, ttlMs: 60_000 }));
    await one!.keeper.tick();
    for (const other of others) await other.keeper.tick();
    const tickAndCount = async () => {
      await one!.keeper.tick();
      return (await leases(sql)).filter((row) => row.owner === "one").length;
    };
    await eventually(async () => (await tickAndCount()) === 11);
    for (let i = 0; i < 3; i++) expect(await tickAndCount()).toBe(11);
    expect(one!.events).toEqual([`acquired ${SHARD_COUNT}`]);
  });
});

describe("stop", () => {
  test("is safe before start, and twice", async () => {
    const { sql } = await newDatabase();
    const one = createReplica({ sql, name: "one" });
    await one.keeper.stop();
    await one.keeper.stop();
  });

  test("drains, and then gives everything up at once", async () => {
    const { sql } = await newDatabase();
    const drained: number[][] = [];
    const one = createReplica({ sql, name: "one", drain: async (shards) => void drained.push(shards) });
    one.keeper.start();
    await eventually(() => one.shards().length === SHARD_COUNT);
    await Promise.all([one.keeper.stop(), one.keeper.stop()]);
    expect(drained[0]).toHaveLength(SHARD_COUNT);
    expect(one.shards()).toEqual([]);
    expect((await leases(sql)).every((row) => row.owner === null)).toBe(true);
    expect(await sql`SELECT FROM replica`).toHaveLength(0);
  });

  test("keeps its leases alive while it drains, however long that takes", async () => {
    const { sql } = await newDatabase();
    const drained = Promise.withResolvers<void>();
    const one = createReplica({ sql, name: "one", drain: () => drained.promise });
    await one.keeper.tick();
    const expiry = async () => (await sql`SELECT min(expires_at) AS at FROM shard_lease`)[0]!.at as Date;
    const before = await expiry();
    const stopping = one.keeper.stop();
    await eventually(async () => (await expiry()) > before);
    expect(one.shards()).toHaveLength(SHARD_COUNT);
    drained.resolve();
    await stopping;
    expect((await leases(sql)).every((row) => row.owner === null)).toBe(true);
  });

  test("gives up what could not be drained: its lease would run out anyway", async () => {
    const { sql } = await newDatabase();
    const errors: unknown[] = [];
    const drain = () => Promise.reject(new Error("stuck"));
    const one = createReplica({ sql, name: "one", drain, onError: (error) => errors.push(error) });
    await one.keeper.tick();
    await one.keeper.stop();
    expect(errors).toHaveLength(1);
    expect((await leases(sql)).every((row) => row.owner === null)).toBe(true);
  });
});

describe("a replica without Postgres", () => {
  test("stops when its own deadline passes, and goes on when Postgres is back", async () => {
    const { sql, url } = await newDatabase();
    const admin = postgres(url.replace(/\/[^/]+$/, "/postgres"), { max: 1, onnotice: () => {} });
    const name = await nameOf(sql);
    const errors: unknown[] = [];
    const one = createReplica({ sql, name: "one", onError: (error) => errors.push(error) });
    await one.keeper.tick();

    await admin.unsafe(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
    await admin`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ${name}`;
    await expect(one.keeper.tick()).rejects.toThrow();
    one.clock.turn(3999);
    expect(one.keeper.holds(0)).toBe(true);
    one.clock.turn(1);
    expect(one.keeper.holds(0)).toBe(false);

    await admin.unsafe(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
    await admin.end();
    await eventually(() => one.keeper.tick().then(() => true));
    // Nobody else came meanwhile: the same fence.
    expect(one.keeper.fences().get(0)).toBe(1);
  });

  test("says of what it lost in its own loop", async () => {
    const { sql } = await newDatabase();
    let away = false;
    const broken = new Proxy(sql, {
      apply: (target, self, args) =>
        away ? Promise.reject(new Error("away")) : Reflect.apply(target as never, self, args),
    });
    const clock = createFakeClock();
    const rounds: (() => void)[] = [];
    const sleep = (_: number, signal?: AbortSignal) =>
      new Promise<void>((resolve) => {
        signal?.addEventListener("abort", () => resolve(), { once: true });
        rounds.push(resolve);
      });
    const one = createReplica({ sql: broken, name: "one", clock: { ...clock, sleep } });
    one.keeper.start();
    await eventually(() => rounds.length === 1);
    away = true;
    clock.turn(4000);
    rounds.shift()!();
    await eventually(() => one.events.includes(`lost ${SHARD_COUNT}`));
    away = false;
    await one.keeper.stop();
  });
});
