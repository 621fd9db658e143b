import { describe, expect, test } from "bun:test";
import { createClient } from "@connectrpc/connect";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { ErrorReason } from "#services/platform/domain-error.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { reasonFromError } from "#services/platform/rpc/errors.ts";
import { defaultRpcLoad } from "#services/platform/rpc/load.ts";
import { fullToken, sessionToken, startAccountServer } from "#test/platform/account-server.ts";
import { eventually } from "#test/support/eventually.ts";

const refusalOf = async (call: Promise<unknown>) =>
  reasonFromError(
    await call.then(
      () => undefined,
      (error: unknown) => error,
    ),
  );

/** Account 2 answers after `release`, account 1 at once. */
async function setup(load: Partial<typeof defaultRpcLoad> = {}) {
  const world = await startAccountServer({ load: { ...defaultRpcLoad, ...load } });
  return { world, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
}

const share = { atOnce: 2, besideOthers: 2, waiting: 3 };

describe("an account's share of a service", () => {
  test("is so many calls at once; more wait, and more than that are refused with the time to wait", async () => {
    await using setUp = await setup({ share });
    const { client, calls, release } = setUp.world;
    const flood = Array.from({ length: 5 }, () => client.getAccount({ accountId: 2n }));
    await eventually(() => calls() === 2);
    const refusal = await refusalOf(client.getAccount({ accountId: 2n }));
    expect(refusal).toMatchObject({ reason: ErrorReason.RATE_LIMITED, retryAfterSeconds: 1 });
    expect(calls()).toBe(2);
    release();
    expect((await Promise.all(flood)).length).toBe(5);
  });

  test("is nobody else's", async () => {
    await using setUp = await setup({ share });
    const { client, calls, release } = setUp.world;
    const flood = Array.from({ length: 5 }, () => client.getAccount({ accountId: 2n }));
    await eventually(() => calls() === 2);
    expect((await client.getAccount({ accountId: 1n })).account?.id).toBe(1n);
    release();
    await Promise.all(flood);
  });

  test("is free again when its callers have gone", async () => {
    await using setUp = await setup({ share });
    const { client, calls } = setUp.world;
    const caller = new AbortController();
    const flood = Array.from({ length: 5 }, () =>
      refusalOf(client.getAccount({ accountId: 3n }, { signal: caller.signal })),
    );
    await eventually(() => calls() === 2);
    caller.abort();
    await Promise.all(flood);
    await eventually(async () => {
      const one = await refusalOf(client.getAccount({ accountId: 3n }, { timeoutMs: 30 }));
      return one.reason === ErrorReason.UNAVAILABLE;
    });
  });
});

describe("a service token", () => {
  test("has a rate of its own, which no other one feels", async () => {
    await using setUp = await setup({ tokenCallsPerSecond: 1 });
    const over = (token: string) =>
      createClient(AccountService, createRpcTransport({ baseUrl: setUp.world.baseUrl, token }));
    for (let n = 0; n < 10; n++) await over(fullToken).resolveSession({ token: "a" });
    const refusal = await refusalOf(over(fullToken).resolveSession({ token: "a" }));
    expect(refusal.reason).toBe(ErrorReason.RATE_LIMITED);
    expect(refusal.retryAfterSeconds).toBeWithin(1, 11);
    expect((await over(sessionToken).resolveSession({ token: "a" })).paid).toBe(true);
  });

  test("that is wrong is refused as before, and a right one from its address is not", async () => {
    await using setUp = await setup({ addressFailuresPerMinute: 2 });
    const wrong = createClient(AccountService, createRpcTransport({ baseUrl: setUp.world.baseUrl, token: "wrong" }));
    const tries = await Promise.all(Array.from({ length: 6 }, () => refusalOf(wrong.resolveSession({ token: "a" }))));
    for (const { reason } of tries) expect(reason).toBe(ErrorReason.UNAUTHENTICATED);
    expect((await setUp.world.client.resolveSession({ token: "a" })).paid).toBe(true);
  });

  test("says when to come again in a header, too", async () => {
    await using setUp = await setup({ tokenCallsPerSecond: 1 });
    const url = `${setUp.world.baseUrl}/leadcast.account.v1.AccountService/ResolveSession`;
    const headers = { authorization: `Bearer ${fullToken}`, "content-type": "application/json" };
    const call = () => fetch(url, { method: "POST", headers, body: '{"token":"a"}' });
    for (let n = 0; n < 10; n++) await call();
    const refused = await call();
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get("retry-after"))).toBeWithin(1, 11);
  });
});

test("streams of one account are bounded, and one that ends makes room", async () => {
  await using setUp = await setup();
  const callers = Array.from({ length: 101 }, () => new AbortController());
  const open = async (caller: AbortController, accountId = 1n) => {
    const stream = setUp.world.broadcasts.watchBroadcast({ accountId, broadcastId: 1n }, { signal: caller.signal });
    return await stream[Symbol.asyncIterator]().next();
  };
  await Promise.all(callers.slice(0, 100).map((caller) => open(caller)));
  expect((await refusalOf(open(callers[100]!))).reason).toBe(ErrorReason.RATE_LIMITED);
  expect((await open(callers[100]!, 2n)).done).toBe(false);
  callers[0]!.abort();
  await eventually(() => setUp.world.aborted.length === 1);
  await eventually(async () => (await open(new AbortController()).catch(() => undefined)) !== undefined);
  for (const caller of callers) caller.abort();
});
