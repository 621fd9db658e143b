import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { type Client, createClient } from "@connectrpc/connect";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { createAccountRoutes } from "#services/account/routes.ts";
import { insertAccount } from "#test/support/account-rows.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { createServiceTransport } from "#test/support/router-transport.ts";
import { reasonOf } from "#test/support/rpc-failure.ts";

let world: TestDatabase;
/** Two copies of the service. */
let copies: Client<typeof AccountService>[];
let client: Client<typeof AccountService>;
beforeAll(async () => {
  world = await createTestDatabase();
  copies = [1, 2].map(() => createClient(AccountService, createServiceTransport(createAccountRoutes(world.database))));
  client = copies[0]!;
});
afterAll(() => world.drop());

async function open(accountId: bigint, n: number): Promise<string[]> {
  const tokens: string[] = [];
  for (let i = 0; i < n; i++) tokens.push((await client.createSession({ accountId })).token);
  return tokens;
}

const account = async () => BigInt(await insertAccount(world.sql));
const idOf = (token: string) => createHash("sha256").update(token).digest("hex").slice(0, 16);
const ids = async (accountId: bigint) => (await client.listSessions({ accountId })).sessions.map(({ id }) => id);
const works = (token: string) =>
  client.resolveSession({ token }).then(
    () => true,
    () => false,
  );

describe("an account's sessions", () => {
  test("are 100 at most: the least recently used ends, and no other account's", async () => {
    const [accountId, other] = [await account(), await account()];
    const [untouched] = await open(other, 1);
    const tokens = await open(accountId, 100);
    await client.resolveSession({ token: tokens[0]! });

    const next = await open(accountId, 2);

    expect(await works(tokens[0]!)).toBe(true);
    expect(await works(tokens[1]!)).toBe(false);
    expect(await works(tokens[2]!)).toBe(false);
    expect(await works(tokens[3]!)).toBe(true);
    for (const token of [...next, untouched!]) expect(await works(token)).toBe(true);
    expect(await ids(accountId)).toHaveLength(100);
  });

  test("are 100 at most however many are opened at once, and none of those is refused", async () => {
    const accountId = await account();
    await open(accountId, 95);

    const opened = await Promise.all(
      Array.from({ length: 40 }, (_, n) => copies[n % 2]!.createSession({ accountId, ttlSeconds: 60 + n })),
    );

    expect(await ids(accountId)).toHaveLength(100);
    for (const { token } of opened) expect(await works(token)).toBe(true);
  });

  test("of before there was a bound shrink with the next one", async () => {
    const accountId = await account();
    await world.sql`
      INSERT INTO session (token_hash, account_id, expires_at)
      SELECT sha256((${Number(accountId)} || ':' || n)::bytea), ${Number(accountId)}, now() + interval '1 day'
      FROM generate_series(1, 150) n`;
    const { token } = await client.createSession({ accountId });

    expect(await ids(accountId)).toHaveLength(100);
    expect(await works(token)).toBe(true);
  });

  test("are listed without their tokens, the last used first", async () => {
    const accountId = await account();
    const [first, second] = await open(accountId, 2);
    await client.resolveSession({ token: first! });

    const { sessions } = await client.listSessions({ accountId });

    expect(sessions.map(({ id }) => id)).toEqual([idOf(first!), idOf(second!)]);
    expect(sessions[1]!.lastUseTime).toBeUndefined();
    const [opened, used] = [sessions[0]!.createTime!, sessions[0]!.lastUseTime!].map((time) => timestampDate(time));
    expect(used!.getTime()).toBeGreaterThanOrEqual(opened!.getTime());
    expect(JSON.stringify(sessions, (_, value) => (typeof value === "bigint" ? String(value) : value))).not.toContain(
      first!,
    );
    expect(await reasonOf(client.listSessions({ accountId: 999_999n }))).toBe("NOT_YOURS");
  });

  test("end all at once, or those that are named; another account's never", async () => {
    const [accountId, other] = [await account(), await account()];
    const tokens = await open(accountId, 3);
    const [foreign] = await open(other, 1);

    const named = { accountId, sessionIds: [idOf(tokens[1]!), idOf(foreign!)] };
    expect((await client.revokeSessions(named)).revoked).toBe(1);
    expect(await Promise.all(tokens.map(works))).toEqual([true, false, true]);
    expect((await client.revokeSessions({ accountId })).revoked).toBe(2);
    expect((await client.revokeSessions({ accountId })).revoked).toBe(0);
    expect(await Promise.all(tokens.map(works))).toEqual([false, false, false]);
    expect(await works(foreign!)).toBe(true);
    expect(await reasonOf(client.revokeSessions({ accountId, sessionIds: ["'; --"] }))).toBe("INVALID_ARGUMENT");
    expect(await reasonOf(client.revokeSessions({ accountId: 999_999n }))).toBe("NOT_YOURS");
  });
});
