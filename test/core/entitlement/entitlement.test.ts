import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createClient } from "@connectrpc/connect";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { loadEntitlement, paidInterceptor } from "#services/core/entitlement/entitlement.ts";
import { insertAccount } from "#test/support/account-rows.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { createServiceTransport } from "#test/support/router-transport.ts";
import { failureOf, reasonOf } from "#test/support/rpc-failure.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

describe("loadEntitlement", () => {
  test("tells what the account's tariff allows", async () => {
    const accountId = await insertAccount(database.sql, { broadcasts: true, dailyCap: 500 });
    await database.sql`UPDATE account SET telegram_chat_id = 77 WHERE id = ${accountId}`;

    const entitlement = await loadEntitlement(database.sql, accountId);

    expect(entitlement).toEqual({ accountId, paid: true, broadcasts: true, dailyCap: 500, telegramChatId: 77 });
  });

  test("counts a subscription that has ended, or never began, as not paid", async () => {
    const lapsed = await insertAccount(database.sql, { paid: false });
    const never = await insertAccount(database.sql);
    await database.sql`UPDATE account SET paid_until = NULL WHERE id = ${never}`;

    expect((await loadEntitlement(database.sql, lapsed))?.paid).toBe(false);
    expect((await loadEntitlement(database.sql, never))?.paid).toBe(false);
  });

  test("goes by the given offset from Postgres' clock", async () => {
    const accountId = await insertAccount(database.sql);

    expect((await loadEntitlement(database.sql, accountId, 2 * 3_600_000))?.paid).toBe(false);
  });

  test("finds nothing for an account that does not exist", async () => {
    expect(await loadEntitlement(database.sql, 999_999)).toBeUndefined();
  });
});

describe("paidInterceptor", () => {
  const methods = new Set([
    "leadcast.broadcast.v1.BroadcastService/GetQuota",
    `${BroadcastService.typeName}/WatchBroadcast`,
  ]);

  function setup() {
    const interceptor = paidInterceptor({ sql: database.sql, methods });
    const routes = createServiceTransport(
      (router) =>
        router.service(BroadcastService, {
          getQuota: () => ({}),
          listBroadcasts: () => ({}),
          async *watchBroadcast() {
            yield {};
          },
        }),
      [interceptor],
    );
    return createClient(BroadcastService, routes);
  }

  test("lets a paying account through and turns a lapsed one away", async () => {
    const client = setup();
    const paying = BigInt(await insertAccount(database.sql));
    const lapsed = BigInt(await insertAccount(database.sql, { paid: false }));

    await client.getQuota({ accountId: paying });
    expect(await reasonOf(client.getQuota({ accountId: lapsed }))).toBe("UNPAID");
  });

  test("answers NOT_YOURS for an account that does not exist", async () => {
    expect(await reasonOf(setup().getQuota({ accountId: 999_999n }))).toBe("NOT_YOURS");
  });

  test("leaves an unusable account id to validation", async () => {
    for (const accountId of [0n, -1n, 2n ** 53n]) {
      const failure = await failureOf(setup().getQuota({ accountId }));
      expect(failure).toMatchObject({ field: "account_id", reason: 5 });
    }
  });

  test("leaves other methods alone", async () => {
    const lapsed = BigInt(await insertAccount(database.sql, { paid: false }));

    await setup().listBroadcasts({ accountId: lapsed });
  });

  test("guards a server stream", async () => {
    const client = setup();
    const read = async (accountId: number) => {
      let messages = 0;
      for await (const _ of client.watchBroadcast({ accountId: BigInt(accountId), broadcastId: 1n })) messages++;
      return messages;
    };

    expect(await read(await insertAccount(database.sql))).toBe(1);
    expect(await reasonOf(read(await insertAccount(database.sql, { paid: false })))).toBe("UNPAID");
  });
});
