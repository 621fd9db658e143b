import { expect, test } from "bun:test";
import { inTransaction } from "#services/core/ledger/transaction.ts";
import { isConnectionFailure } from "#services/platform/connection-failure.ts";
import { createTestDatabase } from "#test/support/postgres.ts";

test("a transaction whose process falls silent lets go of its locks before a lease lapses", async () => {
  const database = await createTestDatabase();
  const { sql } = database;
  await sql`INSERT INTO shard_lease (role, shard) VALUES (2, 1)`;
  const locked = Promise.withResolvers<void>();
  const thawed = Promise.withResolvers<void>();
  const frozen = inTransaction(sql, async (tx) => {
    await tx`SELECT FROM shard_lease FOR UPDATE`;
    locked.resolve();
    await thawed.promise;
    await tx`UPDATE shard_lease SET fence = 99`;
  }).catch((error: unknown) => error);
  await locked.promise;
  // Waits for the lock: for ever if the silent transaction keeps it.
  await sql`UPDATE shard_lease SET fence = fence + 1`;
  thawed.resolve();
  expect(isConnectionFailure(await frozen)).toBe(true);
  expect(await sql`SELECT fence FROM shard_lease`).toMatchObject([{ fence: 1 }]);
  await database.drop();
});
