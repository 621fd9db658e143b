import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { explainDue } from "../../bench/due-plan.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

describe("the due query", () => {
  test("reads the index of due times, and as many pages beside 40,000 scheduled rows as beside 1,000", async () => {
    const few = await explainDue(database.sql, 1_000);
    const many = await explainDue(database.sql, 40_000);
    for (const plan of [few, many]) expect(plan.executionMs).toBeGreaterThan(0);
    expect(many.lines.join("\n")).toContain("send_due");
    expect(many.lines.join("\n")).not.toContain("Seq Scan");
    // An index grows by a level, and due rows lie on a few more pages of the table.
    expect(many.pages).toBeLessThan(4 * few.pages);
  });
});
