import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { type Client, createClient } from "@connectrpc/connect";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { createAccountRoutes } from "#services/account/routes.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { createServiceTransport } from "#test/support/router-transport.ts";
import { failureOf, reasonOf } from "#test/support/rpc-failure.ts";

let world: TestDatabase;
let client: Client<typeof AccountService>;
beforeAll(async () => {
  world = await createTestDatabase();
  client = createClient(AccountService, createServiceTransport(createAccountRoutes(world.database)));
});
afterAll(() => world.drop());

const inAnHour = () => timestampFromDate(new Date(Date.now() + 3_600_000));

async function putTariff(id = 0n) {
  const { tariff } = await client.putTariff({ tariff: { id, name: "Pro", broadcasts: true, dailyCap: 500 } });
  return tariff!;
}

async function putAccount(id = 0n) {
  const { id: tariffId } = await putTariff();
  const { account } = await client.putAccount({ account: { id, name: "Ada", tariffId, paidUntilTime: inAnHour() } });
  return account!;
}

describe("PutTariff", () => {
  test("assigns an id, and replaces by it", async () => {
    const { id } = await putTariff();

    const { tariff } = await client.putTariff({ tariff: { id, name: "Free" } });

    expect(tariff).toMatchObject({ id, name: "Free", broadcasts: false, dailyCap: 0 });
    const rows = await world.sql`SELECT name, broadcasts, daily_cap FROM tariff WHERE id = ${Number(id)}`;
    expect([...rows]).toEqual([{ name: "Free", broadcasts: false, daily_cap: 0 }]);
  });

  test("keeps assigned ids clear of chosen ones", async () => {
    const { id } = await putTariff();
    for (let chosen = id + 1n; chosen <= id + 5n; chosen++) await putTariff(chosen);

    expect((await putTariff()).id).toBe(id + 6n);
  });

  test("still assigns after the largest id was chosen", async () => {
    const before = await putTariff();
    await putTariff(BigInt(Number.MAX_SAFE_INTEGER));

    expect((await putTariff()).id).toBe(before.id + 1n);
  });

  test("gives out each id once while others choose the next ones", async () => {
    const { id } = await putTariff();
    const assigned = Array.from({ length: 20 }, () => putTariff());
    const chosen = Array.from({ length: 20 }, (_, index) => putTariff(id + 1n + BigInt(index)));

    const ids = (await Promise.all(assigned)).map((tariff) => tariff.id);
    await Promise.all(chosen);

    expect(new Set(ids).size).toBe(20);
  });

  test("refuses what is outside the bounds, and NUL", async () => {
    expect(await reasonOf(client.putTariff({}))).toBe("INVALID_ARGUMENT");
    expect(await reasonOf(client.putTariff({ tariff: { dailyCap: -1 } }))).toBe("INVALID_ARGUMENT");
    expect(await failureOf(client.putTariff({ tariff: { name: "a\0b" } }))).toMatchObject({ field: "tariff.name" });
  });
});

describe("PutAccount", () => {
  test("stores an account that GetAccount returns with its tariff", async () => {
    const stored = await putAccount();

    const { account, tariff } = await client.getAccount({ accountId: stored.id });

    expect(account).toEqual(stored);
    expect(tariff).toMatchObject({ id: stored.tariffId, name: "Pro" });
  });

  test("replaces: what is left out becomes zero", async () => {
    const { id, tariffId } = await putAccount();

    await client.putAccount({ account: { id, tariffId, telegramChatId: -5n } });

    const { account } = await client.getAccount({ accountId: id });
    expect(account).toMatchObject({ name: "", telegramChatId: -5n });
    expect(account!.paidUntilTime).toBeUndefined();
  });

  test("refuses a tariff that does not exist, and a time that no calendar has", async () => {
    const absent = client.putAccount({ account: { tariffId: 999_999n } });
    expect(await failureOf(absent)).toMatchObject({ reason: 5, field: "account.tariff_id" });
    const { id: tariffId } = await putTariff();
    const paidUntilTime = { seconds: 2n ** 62n, nanos: 0 };
    expect(await reasonOf(client.putAccount({ account: { tariffId, paidUntilTime } }))).toBe("INVALID_ARGUMENT");
  });
});

describe("GetAccount", () => {
  test("answers NOT_YOURS for an account that does not exist", async () => {
    expect(await reasonOf(client.getAccount({ accountId: 999_999n }))).toBe("NOT_YOURS");
  });
});

describe("a session", () => {
  test("resolves to its account until it is revoked", async () => {
    const { id: accountId } = await putAccount();
    const { token, expireTime } = await client.createSession({ accountId, ttlSeconds: 60 });

    const resolved = await client.resolveSession({ token });
    expect(resolved).toMatchObject({ accountId, paid: true, expireTime });
    await client.revokeSession({ token });
    await client.revokeSession({ token });

    expect(await reasonOf(client.resolveSession({ token }))).toBe("SESSION_INVALID");
  });

  test("lasts 30 days unless told otherwise", async () => {
    const { id: accountId } = await putAccount();

    const { expireTime } = await client.createSession({ accountId });

    const days = (timestampDate(expireTime!).getTime() - Date.now()) / 86_400_000;
    expect(days).toBeCloseTo(30, 2);
  });

  test("is stored only as the hash of its token", async () => {
    const { id: accountId } = await putAccount();
    const { token } = await client.createSession({ accountId });

    const [row] = await world.sql<{ hash: Uint8Array }[]>`
      SELECT token_hash AS hash FROM session WHERE account_id = ${Number(accountId)}`;

    expect(token).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(Buffer.from(row!.hash)).toEqual(createHash("sha256").update(token).digest());
  });

  test("ends at its time, and is cleared away by later ones", async () => {
    const { id: accountId } = await putAccount();
    const { token } = await client.createSession({ accountId });
    await world.sql`UPDATE session SET expires_at = now() - interval '1 s' WHERE account_id = ${Number(accountId)}`;

    expect(await reasonOf(client.resolveSession({ token }))).toBe("SESSION_INVALID");
    await client.createSession({ accountId });

    const [row] = await world.sql<{ n: number }[]>`
      SELECT count(*)::int AS n FROM session WHERE account_id = ${Number(accountId)}`;
    expect(row!.n).toBe(1);
  });

  test("says when its account has lapsed", async () => {
    const { id, tariffId } = await putAccount();
    const { token } = await client.createSession({ accountId: id });

    await client.putAccount({ account: { id, tariffId } });

    expect((await client.resolveSession({ token })).paid).toBe(false);
  });

  test("is not opened for an account that does not exist, nor known by another token", async () => {
    expect(await reasonOf(client.createSession({ accountId: 999_999n }))).toBe("NOT_YOURS");
    expect(await reasonOf(client.resolveSession({ token: "guess" }))).toBe("SESSION_INVALID");
    expect(await reasonOf(client.resolveSession({ token: "" }))).toBe("INVALID_ARGUMENT");
  });

  test("is another one with every call", async () => {
    const { id: accountId } = await putAccount();
    const sessions = await Promise.all([client.createSession({ accountId }), client.createSession({ accountId })]);

    expect(sessions[0].token).not.toBe(sessions[1].token);
    for (const { token } of sessions) await client.resolveSession({ token });
  });
});
