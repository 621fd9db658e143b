import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampDate, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Client, createClient } from "@connectrpc/connect";
import type { ListAuditEntriesRequestSchema } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { createAccountRoutes } from "#services/account/routes.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { createServiceTransport } from "#test/support/router-transport.ts";
import { reasonOf } from "#test/support/rpc-failure.ts";

let database: TestDatabase;
let client: Client<typeof AccountService>;
beforeAll(async () => {
  database = await createTestDatabase();
  client = createClient(AccountService, createServiceTransport(createAccountRoutes(database.database)));
});
afterAll(() => database.drop());

/** Twenty entries, of the same moment and of others, of which every third has three rows. */
beforeEach(async () => {
  await database.sql`DELETE FROM audit_entry`;
  await database.sql`
    INSERT INTO audit_entry (at, id, slot, account_id, calls, changes, token, session, address, call, object_kind, object_id, outcome)
    SELECT timestamptz '2026-01-01Z' + (n / 4) * interval '1.000001 s', md5(n::text)::uuid, slot, 1 + n % 2,
      CASE WHEN slot = 0 THEN 1 ELSE 0 END, 10, 'importer', 'abcd', '192.0.2.1', 'a.v1.S/Call' || n % 5, 'bot', n::text, 'ok'
    FROM generate_series(0, 19) AS n, generate_series(0, 2) AS slot WHERE slot = 0 OR n % 3 = 0`;
});

type Filter = MessageInitShape<typeof ListAuditEntriesRequestSchema>;

async function pages(filter: Filter) {
  const all = [];
  for (let pageToken = ""; ; ) {
    const { entries, nextPageToken } = await client.listAuditEntries({ ...filter, pageToken });
    all.push(entries);
    if (nextPageToken === "") return all;
    pageToken = nextPageToken;
  }
}

const objects = async (filter: Filter) => (await pages(filter)).flat().map(({ objectId }) => Number(objectId));

describe("ListAuditEntries", () => {
  test("pages through all of them, newest first, none twice, whatever the page's size", async () => {
    const whole = (await client.listAuditEntries({})).entries;
    const times = whole.map(({ time }) => timestampDate(time!).getTime());

    expect(whole).toHaveLength(20);
    expect(times).toEqual([...times].sort((a, b) => b - a));
    for (const pageSize of [1, 3, 7, 20]) {
      const paged = await pages({ pageSize });
      expect(paged.flat()).toEqual(whole);
      expect(
        paged
          .map((page) => page.length)
          .slice(0, -1)
          .every((length) => length === pageSize),
      ).toBe(true);
    }
  });

  test("adds up the rows of an entry", async () => {
    const { entries } = await client.listAuditEntries({});
    for (const { objectId, calls, changes } of entries) {
      expect([objectId, calls, changes]).toEqual([objectId, 1, Number(objectId) % 3 === 0 ? 30n : 10n]);
    }
    expect(entries[0]).toMatchObject({
      token: "importer",
      session: "abcd",
      address: "192.0.2.1",
      objectKind: "bot",
      outcome: "ok",
    });
  });

  test("filters by account, call and time, and by all of them page by page", async () => {
    const ascending = (ids: number[]) => ids.sort((a, b) => a - b);
    expect(ascending(await objects({ accountId: 2n }))).toEqual([1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
    expect(ascending(await objects({ call: "a.v1.S/Call2" }))).toEqual([2, 7, 12, 17]);
    expect(await objects({ call: "a.v1.S/Call" })).toEqual([]);
    const fromTime = timestampFromMs(Date.UTC(2026, 0, 1, 0, 0, 1));
    const toTime = timestampFromMs(Date.UTC(2026, 0, 1, 0, 0, 3));
    expect(ascending(await objects({ fromTime, toTime }))).toEqual([4, 5, 6, 7, 8, 9, 10, 11]);
    const all = { accountId: 2n, call: "a.v1.S/Call2", fromTime, pageSize: 1 };
    expect(ascending(await objects(all))).toEqual([7, 17]);
  });

  test("refuses a page token that it has not given, and sizes out of bounds", async () => {
    const place = (text: string) => Buffer.from(text).toString("base64url");
    const wrong = [
      "x",
      place("1 2"),
      place(`-1 ${crypto.randomUUID()}`),
      place(`${"9".repeat(17)} ${crypto.randomUUID()}`),
    ];
    for (const pageToken of wrong)
      expect(await reasonOf(client.listAuditEntries({ pageToken }))).toBe("INVALID_ARGUMENT");
    expect(
      await client.listAuditEntries({ pageToken: place(`${"9".repeat(16)} ${crypto.randomUUID()}`) }),
    ).toBeDefined();
    for (const pageSize of [-1, 1_001])
      expect(await reasonOf(client.listAuditEntries({ pageSize }))).toBe("INVALID_ARGUMENT");
  });
});
