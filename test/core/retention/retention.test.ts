import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { Sql } from "#services/core/database/client.ts";
import { readCounters } from "#services/core/ledger/counters.ts";
import { pruneFollowUps, pruneRetired } from "#services/core/ledger/prune.ts";
import * as store from "#services/core/retention/store.ts";
import { insertAccount } from "#test/support/account-rows.ts";
import { createTestDatabase } from "#test/support/postgres.ts";

describe("retention", () => {
  let sql: Sql;
  let drop: () => Promise<void>;

  beforeEach(async () => {
    ({ sql, drop } = await createTestDatabase());
  });

  afterEach(() => drop());

  async function count(table: string): Promise<number> {
    const [row] = await sql.unsafe<{ n: number }[]>(`SELECT count(*)::int AS n FROM ${table}`);
    return row!.n;
  }

  test("deletes an ended generation batch by batch, leaves what is on the wire, and its counters last", async () => {
    await sql`INSERT INTO send (source_id, lead_id, bot_id, kind, state) SELECT 7, n, 1, 1, 2 FROM generate_series(1, 6000) n`;
    await sql`INSERT INTO send (source_id, lead_id, bot_id, kind, state) VALUES (7, 9001, 1, 1, 1), (8, 1, 1, 1, 2)`;
    await sql`INSERT INTO send_counter (source_id, slot, enqueued, sent) VALUES (7, -1, 6001, 6000), (8, -1, 1, 1)`;
    await sql`INSERT INTO retired_source (source_id) VALUES (7)`;

    expect(await pruneRetired(sql)).toBe(true);
    expect(await count("send")).toBe(1002);
    expect(await pruneRetired(sql)).toBe(true);
    expect(await pruneRetired(sql)).toBe(false);
    expect(await count("send WHERE source_id = 7")).toBe(1);

    await sql`UPDATE send SET state = 4 WHERE source_id = 7`;
    while (await pruneRetired(sql));
    expect(await count("send")).toBe(1);
    expect(await count("send_counter")).toBe(1);
    expect(await count("retired_source")).toBe(0);
  });

  test("deletes follow-ups that were settled long ago, and counts them no more", async () => {
    const old = "now() - interval '31 days'";
    await sql.unsafe(`INSERT INTO send (source_id, lead_id, entry, bot_id, kind, state, settled_at) VALUES
      (3, 1, 1, 5, 2, 2, ${old}), (3, 2, 1, 5, 2, 3, ${old}), (3, 3, 1, 5, 2, 5, now()), (3, 4, 1, 5, 2, 0, NULL)`);
    await sql`INSERT INTO send_counter (source_id, slot, enqueued, sent, failed, dropped) VALUES (3, -1, 4, 1, 1, 1)`;

    await pruneFollowUps(sql);

    const counters = (await readCounters(sql, [3])).get(3)!;
    expect(counters).toMatchObject({ enqueued: 2, sent: 0, failed: 0, dropped: 1, queued: 1 });
    expect(await count("send")).toBe(2);
  });

  test("deletes expired sessions, old quota days and holds that are over, and nothing else", async () => {
    const accountId = await insertAccount(sql);
    await sql`INSERT INTO session (token_hash, account_id, expires_at) VALUES
      ('\\x01', ${accountId}, now() - interval '1 minute'), ('\\x02', ${accountId}, now() + interval '1 minute')`;
    await sql`INSERT INTO quota_day (account_id, day, used) VALUES (${accountId}, current_date - 91, 3), (${accountId}, current_date, 4)`;
    await sql`INSERT INTO lane (bot_id, reason, hold_until) VALUES (1, 1, now() - interval '2 days'), (2, 2, NULL), (3, 1, now())`;

    await store.deleteExpiredSessions(sql);
    await store.deleteOldQuotaDays(sql);
    await store.deletePastHolds(sql);

    expect(await count("session")).toBe(1);
    expect(await count("quota_day")).toBe(1);
    expect((await sql<{ botId: number }[]>`SELECT bot_id AS "botId" FROM lane ORDER BY 1`).map((r) => r.botId)).toEqual(
      [2, 3],
    );
  });

  test("deletes media that nothing uses and nobody touched for a week, and gives the room back", async () => {
    const accountId = await insertAccount(sql);
    for (const [ref, days] of [
      ["unused", 8],
      ["used", 8],
      ["new", 1],
    ] as const) {
      await sql`INSERT INTO media (ref, account_id, sha256, size, width, height, media_type, mime_type, touched_at)
        VALUES (${ref}, ${accountId}, ${Buffer.from(ref)}, 100, 1, 1, 1, 'image/png', now() - ${days} * interval '1 day')`;
      await sql`INSERT INTO media_chunk (media_ref, n, bytes) VALUES (${ref}, 0, '\\x00')`;
    }
    await sql`INSERT INTO media_usage (account_id, bytes) VALUES (${accountId}, 300)`;
    await sql`INSERT INTO broadcast (account_id, source_id, media, media_type) VALUES (${accountId}, 1, 'used', 1)`;

    await store.deleteUnusedMedia(sql);

    expect((await sql<{ ref: string }[]>`SELECT ref FROM media ORDER BY ref`).map((r) => r.ref)).toEqual([
      "new",
      "used",
    ]);
    expect(await count("media_chunk")).toBe(2);
    expect(await sql`SELECT bytes FROM media_usage`).toMatchObject([{ bytes: 200 }]);
  });
});
