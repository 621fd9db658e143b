/** What the migration to one bot a number and bounded times does to data that is there. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readNumbers } from "#services/campaign/read-numbers.ts";
import { migrate } from "#services/core/database/client.ts";
import { HoldReason } from "#services/core/ledger/send.ts";
import { createSecretBox } from "#services/platform/secrets.ts";
import { captureLog } from "#test/platform/captured-log.ts";
import { insertAccount } from "#test/support/account-rows.ts";
import { createDatabaseBefore, type TestDatabase } from "#test/support/postgres.ts";

let database: TestDatabase;
let bots: { older: number; younger: number };
const secretBox = createSecretBox([{ id: "k1", key: new Uint8Array(32) }]);

beforeAll(async () => {
  database = await createDatabaseBefore("0006_whose_and_when");
  bots = { older: await insertBotWithLead("4711:first"), younger: await insertBotWithLead("4711:second") };
});
afterAll(() => database.drop());

const HOUR_MS = 3_600_000;

/** With the columns that there were. */
async function insertBotWithLead(token: string): Promise<number> {
  const { sql } = database;
  const accountId = await insertAccount(sql);
  const [row] = await sql<{ id: number }[]>`
    INSERT INTO bot (account_id, username, token_sealed, webhook_secret) VALUES (${accountId}, '', '', '') RETURNING id`;
  const { id } = row!;
  await sql`UPDATE bot SET token_sealed = ${secretBox.encrypt(token, `bot:${id}`)} WHERE id = ${id}`;
  await sql`
    WITH c AS (INSERT INTO campaign (account_id, bot_id, name, code) VALUES (${accountId}, ${id}, '', '') RETURNING id)
    INSERT INTO lead (campaign_id, bot_id, chat_id, status, status_time, created_time)
    SELECT id, ${id}, 7, 0, now() - interval '1 day', now() - interval '1 day' FROM c`;
  return id;
}

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
      FROM lead l JOIN send s ON s.lead_id = l.id WHERE s.bot_id NOT IN (${bots.older}, ${bots.younger}) ORDER BY chat`;
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

  test("and the start after it leave of two bots with one number the older one, hold and name the other, and lose nothing", async () => {
    const { sql } = database;
    const { log, records } = captureLog();

    await readNumbers({ sql, secretBox, log });

    const rows = await sql`
      SELECT b.id, b.number, l.reason, (SELECT count(*)::int FROM lead WHERE bot_id = b.id) AS leads
      FROM bot b LEFT JOIN lane l ON l.bot_id = b.id WHERE b.id IN (${bots.older}, ${bots.younger}) ORDER BY b.id`;
    expect([...rows]).toEqual([
      { id: bots.older, number: 4711, reason: null, leads: 1 },
      { id: bots.younger, number: null, reason: HoldReason.duplicate, leads: 1 },
    ]);
    expect(records()).toContainEqual(expect.objectContaining({ botId: bots.younger, sameAsBotId: bots.older }));
  });
});
