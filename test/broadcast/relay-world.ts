import { afterEach } from "bun:test";
import * as lifeCycle from "#services/broadcast/life-cycle.ts";
import { Relay, type RelayOptions } from "#services/broadcast/relay.ts";
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import type { SendJob } from "#services/core/ledger/claim.ts";
import { SHARD_COUNT } from "#services/core/ledger/send.ts";
import { expectConsistent } from "#test/support/consistent.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { createWorld, type WorldOptions } from "#test/support/world.ts";

export const allShards = Array.from({ length: SHARD_COUNT }, (_, shard) => shard);

export const leadsOf = (jobs: SendJob[]) => jobs.map((job) => job.leadId);

/** Counts the statements that have `text` in them, in transactions and outside. */
export function counting(sql: Sql, text: string): { sql: Sql; count: () => number } {
  let count = 0;
  const apply = (target: object, self: unknown, parts: [readonly string[], ...unknown[]]) => {
    if (parts[0].join("").includes(text)) count++;
    return Reflect.apply(target as () => unknown, self, parts);
  };
  const begin = (options: string, work: (tx: TransactionSql) => unknown) =>
    sql.begin(options, (tx) => work(new Proxy(tx, { apply }) as TransactionSql));
  const get = (target: Sql, name: string | symbol) => (name === "begin" ? begin : Reflect.get(target, name));
  return { sql: new Proxy(sql, { apply, get }) as Sql, count: () => count };
}

/** For one test file: makes worlds, and takes them away after each test, when their rows and counters agree. */
export function useRelayWorlds() {
  const databases: TestDatabase[] = [];
  afterEach(async () => {
    for (const database of databases.splice(0)) {
      await expectConsistent(database.sql);
      await database.drop();
    }
  });

  /** A world of its own with a relay that publishes into a list, round by round, at a time that the test turns. */
  async function setup({ relay: relayOptions, ...options }: WorldOptions & { relay?: Partial<RelayOptions> } = {}) {
    const database = await createTestDatabase();
    databases.push(database);
    const { sql } = database;
    const world = await createWorld(sql, { leads: 100, ...options });
    const time = { ms: 1000, offsetMs: 0 };
    const published: SendJob[] = [];
    const errors: unknown[] = [];
    const used: RelayOptions = {
      sql,
      clock: { now: () => time.ms, monotonicMs: () => time.ms, sleep: () => Promise.resolve() },
      databaseClock: { offsetMs: () => time.offsetMs },
      shards: () => allShards,
      publish: async (jobs) => {
        published.push(...jobs);
        return { published: jobs, failed: [] };
      },
      onError: (error) => errors.push(error),
      // 2 s of 30 a second: 60 at most.
      windowSeconds: 2,
      ...relayOptions,
    };
    const relay = new Relay(used);
    return {
      ...world,
      ...{ relay, relayOptions: used, published, time, errors },
      /** A broadcast that runs. */
      addRunning: async (fields?: Parameters<typeof world.addBroadcast>[0]) => {
        const id = await world.addBroadcast(fields);
        await lifeCycle.startBroadcast(sql, world.accountId, id);
        return id;
      },
      /** Lets time pass and makes one round. @returns what it published. */
      round: async (afterMs = 0): Promise<SendJob[]> => {
        time.ms += afterMs;
        published.length = 0;
        await relay.tick();
        return [...published];
      },
    };
  }

  return setup;
}
