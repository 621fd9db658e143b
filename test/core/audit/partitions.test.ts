import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import * as partitions from "#services/core/audit/partitions.ts";
import type { Sql } from "#services/core/database/client.ts";
import { createTestDatabase } from "#test/support/postgres.ts";

describe("the months of the audit log", () => {
  let sql: Sql;
  let drop: () => Promise<void>;
  beforeEach(async () => {
    ({ sql, drop } = await createTestDatabase());
  });
  afterEach(() => drop());

  async function months(): Promise<string[]> {
    const rows = await sql<{ name: string }[]>`
      SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'audit_entry'::regclass ORDER BY 1`;
    return rows.map(({ name }) => name);
  }

  /** @returns the partition that took it. */
  async function addEntry(ago: string, address: string | null = "192.0.2.1"): Promise<string> {
    const [row] = await sql<{ name: string }[]>`
      INSERT INTO audit_entry (at, id, slot, calls, changes, token, session, address, call, object_kind, object_id, outcome)
      VALUES (now() - ${ago}::interval, gen_random_uuid(), 0, 1, 1, 't', '', ${address}, 'c', '', '', 'ok')
      RETURNING tableoid::regclass::text AS name`;
    return row!.name;
  }

  const count = async (where = "true") => (await sql.unsafe(`SELECT 1 FROM audit_entry WHERE ${where}`)).length;
  const nameOf = async (offset: string) => {
    const [row] = await sql<{ name: string }[]>`
      SELECT 'audit_entry_' || to_char((now() AT TIME ZONE 'utc') + ${offset}::interval, 'YYYY_MM') AS name`;
    return row!.name;
  };

  test("are there from the start, and three ahead once somebody looks, several at once or not", async () => {
    expect(await addEntry("0 s")).toBe(await nameOf("0 s"));
    await Promise.all([1, 2, 3].map(() => partitions.makeMonths(sql)));
    const made = await months();
    await partitions.makeMonths(sql);

    expect(made).toHaveLength(5);
    expect(await months()).toEqual(made);
  });

  test("take over what came while there were none", async () => {
    const name = await nameOf("0 s");
    await sql`DROP TABLE ${sql(name)}`;
    expect(await addEntry("0 s")).toBe("audit_entry_default");
    expect(await addEntry("500 days")).toBe("audit_entry_default");

    await partitions.makeMonths(sql);

    expect(await sql`SELECT 1 FROM ${sql(name)}`).toHaveLength(1);
    expect(await sql`SELECT 1 FROM audit_entry_default`).toHaveLength(1);
    expect(await addEntry("0 s")).toBe(name);
    // With the indexes of the others: one row a part of an entry.
    const twice = sql`INSERT INTO audit_entry SELECT * FROM audit_entry`;
    await expect(twice.execute()).rejects.toThrow("duplicate key");
  });

  test("leave the making to the next round while a writer is at work", async () => {
    await sql`DROP TABLE ${sql(await nameOf("1 month"))}`;
    await sql.begin(async (tx) => {
      await tx`LOCK TABLE audit_entry_default IN ROW EXCLUSIVE MODE`;
      await partitions.makeMonths(sql);
    });
    expect(await months()).not.toContain(await nameOf("1 month"));

    await partitions.makeMonths(sql);
    expect(await months()).toContain(await nameOf("1 month"));
  });

  test("go 400 days after they are over, and entries at 400 days", async () => {
    const old = "audit_entry_2020_02";
    await sql.unsafe(`CREATE TABLE ${old} PARTITION OF audit_entry FOR VALUES FROM ('2020-02-01Z') TO ('2020-03-01Z')`);
    await addEntry("401 days");
    await addEntry("399 days");

    expect(await partitions.dropPastMonth(sql)).toBe(true);
    expect(await partitions.dropPastMonth(sql)).toBe(false);
    expect(await partitions.deleteOldEntries(sql)).toBe(false);

    expect(await months()).not.toContain(old);
    expect(await count()).toBe(1);
  });

  test("forget addresses after 30 days, and nothing else of an entry", async () => {
    await addEntry("31 days");
    await addEntry("29 days");
    await addEntry("31 days", null);

    expect(await partitions.forgetAddresses(sql)).toBe(false);

    expect(await count()).toBe(3);
    expect(await count("address IS NOT NULL")).toBe(1);
  });
});
