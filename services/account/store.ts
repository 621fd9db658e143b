/** The account service's statements on accounts and tariffs. */
import { eq } from "drizzle-orm";
import type { Drizzle } from "#services/core/database/client.ts";
import { account, tariff } from "#services/core/database/schema/index.ts";
import type { Account, Tariff } from "./account.ts";

/** Drizzle's builder, in a transaction or not. */
export type Queries = Pick<Drizzle, "select" | "insert">;

/** Creates or replaces by id; id 0 assigns one. */
export async function upsertTariff(db: Queries, { id, ...values }: Tariff): Promise<Tariff> {
  const rows =
    id === 0
      ? await db.insert(tariff).values(values).returning()
      : await db
          .insert(tariff)
          .values({ id, ...values })
          .onConflictDoUpdate({ target: tariff.id, set: values })
          .returning();
  return rows[0]!;
}

/** Creates or replaces by id; id 0 assigns one. Fails with a foreign key violation if the tariff does not exist. */
export async function upsertAccount(db: Queries, { id, ...values }: Account): Promise<Account> {
  const rows =
    id === 0
      ? await db.insert(account).values(values).returning()
      : await db
          .insert(account)
          .values({ id, ...values })
          .onConflictDoUpdate({ target: account.id, set: values })
          .returning();
  return rows[0]!;
}

export async function selectAccount(
  db: Queries,
  id: number,
): Promise<{ account: Account; tariff: Tariff } | undefined> {
  const [row] = await db
    .select({ account, tariff })
    .from(account)
    .innerJoin(tariff, eq(tariff.id, account.tariffId))
    .where(eq(account.id, id));
  return row;
}
