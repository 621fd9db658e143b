import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { resealSecrets, SEALED_COLUMNS } from "#services/campaign/reseal.ts";
import { updateResealed } from "#services/campaign/reseal-store.ts";
import { botTokenContext, ownSecretContext, webhookSecretContext } from "#services/platform/secret-contexts.ts";
import { createSecretBox } from "#services/platform/secrets.ts";
import { insertAccount } from "../support/account-rows.ts";
import { createTestDatabase, type TestDatabase } from "../support/postgres.ts";

const keyOf = (id: string, byte: number) => ({ id, key: new Uint8Array(32).fill(byte) });
const before = createSecretBox([keyOf("k1", 1)]);
const both = createSecretBox([keyOf("k2", 2), keyOf("k1", 1)]);
const after = createSecretBox([keyOf("k2", 2)]);

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

/** Bots with every kind of secret under the old key, and one of the service's own. */
async function setup(bots: number) {
  const { sql } = database;
  const accountId = await insertAccount(sql);
  for (let id = 1; id <= bots; id++) {
    const webhook = (secret: string) => before.encrypt(secret, webhookSecretContext(id));
    await sql`
      INSERT INTO bot (id, account_id, username, token_sealed, webhook_secret_sealed, webhook_former_sealed)
      VALUES (${id}, ${accountId}, '', ${before.encrypt(`token-${id}`, botTokenContext(id))}, ${webhook(`new-${id}`)},
        ${id % 2 === 0 ? webhook(`old-${id}`) : null})`;
  }
  await sql`
    INSERT INTO sealed_secret (name, sealed) VALUES ('opt-out', ${before.encrypt("key", ownSecretContext("opt-out"))})`;
  return { sql };
}

interface BotRow {
  id: number;
  token: string;
  webhook: string;
  former: string | null;
}

async function openAll(box: typeof after): Promise<string[]> {
  const bots = await database.sql<BotRow[]>`
    SELECT id, token_sealed AS token, webhook_secret_sealed AS webhook, webhook_former_sealed AS former FROM bot ORDER BY id`;
  const own = await database.sql<{ name: string; sealed: string }[]>`SELECT name, sealed FROM sealed_secret`;
  return [
    ...bots.flatMap(({ id, token, webhook, former }) => [
      box.decrypt(token, botTokenContext(id)),
      box.decrypt(webhook, webhookSecretContext(id)),
      ...(former === null ? [] : [box.decrypt(former, webhookSecretContext(id))]),
    ]),
    ...own.map(({ name, sealed }) => box.decrypt(sealed, ownSecretContext(name))),
  ];
}

describe("resealSecrets", () => {
  test("seals every secret with the first key, so that the old one can go", async () => {
    const { sql } = await setup(1_100);
    const opened = await openAll(before);

    expect(await resealSecrets(sql, both)).toEqual({ resealed: opened.length, unopened: [] });

    expect(await openAll(after)).toEqual(opened);
    expect(await resealSecrets(sql, both)).toEqual({ resealed: 0, unopened: [] });
  });

  test("names what it cannot open, leaves it, and goes on behind it", async () => {
    const { sql } = await setup(3);
    const foreign = createSecretBox([keyOf("k0", 9)]).encrypt("lost", botTokenContext(1));
    await sql`UPDATE bot SET token_sealed = ${foreign} WHERE id = 1`;
    await sql`UPDATE bot SET webhook_secret_sealed = (SELECT webhook_secret_sealed FROM bot WHERE id = 3) WHERE id = 2`;

    const { resealed, unopened } = await resealSecrets(sql, both);

    expect(resealed).toBe(6);
    expect(unopened).toEqual([
      { kind: "bot token", id: "1", message: 'SECRET_KEYS has no key with the id "k0".' },
      { kind: "webhook secret", id: "2", message: "The sealed value was changed, or belongs to another place or key." },
    ]);
    const [row] = await sql`SELECT token_sealed FROM bot WHERE id = 1`;
    expect(row!.token_sealed).toBe(foreign);
    expect((await resealSecrets(sql, both)).unopened).toEqual(unopened);
  });

  test("goes on where it was broken off, and side by side with others", async () => {
    const { sql } = await setup(600);
    const opened = await openAll(before);
    const stop = new AbortController();
    const broken = resealSecrets(sql, both, stop.signal);
    stop.abort();
    await expect(broken).rejects.toThrow();

    const results = await Promise.all([resealSecrets(sql, both), resealSecrets(sql, both)]);

    expect(results.every(({ unopened }) => unopened.length === 0)).toBe(true);
    expect(await openAll(after)).toEqual(opened);
  });

  test("never writes over a value that somebody has replaced meanwhile", async () => {
    const { sql } = await setup(1);
    const column = SEALED_COLUMNS.find(({ column: name }) => name === "token_sealed")!;
    const [row] = await sql<{ sealed: string }[]>`SELECT token_sealed AS sealed FROM bot`;
    const replaced = both.encrypt("token-new", botTokenContext(1));
    await sql`UPDATE bot SET token_sealed = ${replaced}`;

    const stale = [{ key: "1", from: row!.sealed, to: both.encrypt("token-1", botTokenContext(1)) }];
    expect(await sql.begin((tx) => updateResealed(tx, column, stale))).toBe(0);

    const [now] = await sql<{ sealed: string }[]>`SELECT token_sealed AS sealed FROM bot`;
    expect(now!.sealed).toBe(replaced);
  });

  test("knows every column that holds sealed values", async () => {
    const columns = await database.sql<{ name: string }[]>`
      SELECT table_name || '.' || column_name AS name FROM information_schema.columns
      WHERE table_schema = 'public' AND column_name ~ 'sealed' ORDER BY 1`;

    const known = SEALED_COLUMNS.map(({ table, column }) => `${table}.${column}`).sort();
    expect(columns.map(({ name }) => name)).toEqual(known);
  });
});
