import type { Sql, TransactionSql } from "#services/core/database/client.ts";

export interface HeldCommits {
  /** For the code under test: its transactions do all their work, and stop right before their commit. */
  sql: Sql;
  /** Resolves when the first of them stands there. */
  reached: Promise<void>;
  release(): void;
}

/** A client whose transactions stay open until they are released. */
export function holdCommits(sql: Sql): HeldCommits {
  const reached = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const begin = (mode: string, work: (tx: TransactionSql) => Promise<unknown>) =>
    sql.begin(mode, async (tx) => {
      const result = await work(tx);
      reached.resolve();
      await released.promise;
      return result;
    });
  const held = new Proxy(sql, { get: (target, name) => (name === "begin" ? begin : Reflect.get(target, name)) });
  return { sql: held, reached: reached.promise, release: released.resolve };
}

/**
 * Takes locks in a transaction of its own and keeps them.
 * @returns what gives them back; resolves when the transaction has ended.
 */
export async function holdLock(sql: Sql, take: (tx: TransactionSql) => Promise<unknown>): Promise<() => Promise<void>> {
  const taken = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const ended = sql.begin(async (tx) => {
    await take(tx);
    taken.resolve();
    await released.promise;
  });
  await Promise.race([taken.promise, ended]);
  return async () => {
    released.resolve();
    await ended;
  };
}
