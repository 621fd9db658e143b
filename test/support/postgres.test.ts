import { describe, expect, test } from "bun:test";
import { createTestDatabase } from "./postgres.ts";

describe("createTestDatabase", () => {
  test("gives each test a migrated database of its own", async () => {
    const [one, other] = await Promise.all([createTestDatabase(), createTestDatabase()]);
    await one.sql`CREATE TABLE mine (id int)`;
    const tables = await other.sql<{ name: string }[]>`
      SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'`;
    const names = tables.map((table) => table.name);
    expect(names).toContain("broadcast");
    expect(names).not.toContain("mine");
    await Promise.all([one.drop(), other.drop()]);
  });
});
