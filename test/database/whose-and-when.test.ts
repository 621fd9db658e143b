/** What the migration to one bot a number and bounded times does to data that is there. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { migrate } from "#services/database/client.ts";
import { insertAccount } from "#test/support/account-rows.ts";
import { createDatabaseBefore, type TestDatabase } from "#test/support/postgres.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabaseBefore("0006_whose_and_when");
});
afterAll(() => database.drop());

const HOUR_MS = 3_600_000;

describe("the migration", () => {
  test("sets times ahead of now to now, follow-ups with them, and says how many", async () => {
    const { sql, url } = database;
    const accountId = await insertAccount(sql);
    await sql`
      WITH b AS (INSERT INTO bot (account_id, username, token_sealed, webhook_secret)
        VALUES (${accountId}, 'b', 'sealed', 's') RETURNING id),
      c AS (INSERT INTO campaign (account_id, bot_id, name, code) SELECT ${accountId}, id, '', '' FROM b RETURNING id, bot_id)
      INSERT INTO lead (campaign_id, bot_id, chat_id, status, status_time, created_time, entry)
      SELECT c.id, c.bot_id, k.chat, 0, now() + k.status * interval '1 hour', now() + k.created * interval '1 hour', 2
      FROM c, (VALUES (1, -5, -6), (2, 600000, -6), (3, 600000, 600000), (4, -5, 600000)) AS k (chat, status, created)`;
    await sql`
      INSERT INTO send (source_id, lead_id, entry, bot_id, kind, due_at, state)
      SELECT 1, id, entry, bot_id, 2, status_time + interval '3 hours', 0 FROM lead`;
    const before = Date.now();
    const said: string[] = [];

    await migrate(url, (sentence) => said.push(sentence));

    expect(said).toEqual(["Leadcast: times ahead of now were set to now: 2 of statuses, 2 of arrivals"]);
    const rows = await sql<{ chat: number; status: Date; created: Date; due: Date }[]>`
      SELECT l.chat_id AS chat, l.status_time AS status, l.created_time AS created, s.due_at AS due
      FROM lead l JOIN send s ON s.lead_id = l.id ORDER BY chat`;
    const hours = (moment: Date) => Math.round((moment.getTime() - before) / HOUR_MS);
    expect(rows.map(({ status, created, due }) => [status, created, due].map(hours))).toEqual([
      [-5, -6, -2],
      [0, -6, 3],
      [0, 0, 3],
      [-5, 0, -2],
    ]);
    said.length = 0;
    await migrate(url, (sentence) => said.push(sentence));
    expect(said).toEqual([]);
  });
});
