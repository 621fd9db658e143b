import { describe, expect, test } from "bun:test";
import type { Client } from "@connectrpc/connect";
import type { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { defaultLimits } from "../../gateway/limits.ts";
import { createSessions } from "../../gateway/session.ts";
import { Strangers } from "../../gateway/strangers.ts";
import { eventually } from "../support/eventually.ts";

interface Question {
  token: string;
  answer: (accountId: bigint) => void;
  fail: (error: Error) => void;
}

/** An account service that answers when the test says so. */
function setup() {
  const asked: Question[] = [];
  const account = {
    resolveSession: ({ token }: { token: string }) => {
      const { promise, resolve, reject } = Promise.withResolvers<object>();
      asked.push({ token, answer: (accountId) => resolve({ accountId, paid: true }), fail: reject });
      return promise;
    },
  } as unknown as Pick<Client<typeof AccountService>, "resolveSession">;
  const resolve = createSessions(account as Client<typeof AccountService>, defaultLimits, new Strangers(defaultLimits));
  const request = (token: string) => {
    const authorization = `Bearer ${token}`;
    const asking = new Request("http://localhost/api", { headers: { authorization } });
    return resolve(asking, { address: "203.0.113.5" }, {}).then(({ accountId }) => accountId);
  };
  const untilAsked = (count: number) => eventually(() => asked.length === count);
  return { asked, request, untilAsked };
}

describe("requests of one session", () => {
  test("that come at once ask once", async () => {
    const { asked, request, untilAsked } = setup();
    const answers = [request("a"), request("a"), request("a")];
    await untilAsked(1);
    asked[0]!.answer(7n);
    expect(await Promise.all(answers)).toEqual([7n, 7n, 7n]);
    expect(asked).toHaveLength(1);
  });

  test("get no answer to a question that is older than they are", async () => {
    const { asked, request, untilAsked } = setup();
    const first = request("a");
    await untilAsked(1);
    const later = [request("a"), request("a")];
    asked[0]!.answer(7n);
    expect(await first).toBe(7n);
    await untilAsked(2);
    asked[1]!.answer(8n);
    expect(await Promise.all(later)).toEqual([8n, 8n]);
    expect(asked).toHaveLength(2);
  });

  test("ask again after a question that failed", async () => {
    const { asked, request, untilAsked } = setup();
    const first = request("a").catch((error: Error) => error.message);
    await untilAsked(1);
    const later = request("a");
    asked[0]!.fail(new Error("away"));
    expect(await first).toBe("away");
    await untilAsked(2);
    asked[1]!.answer(7n);
    expect(await later).toBe(7n);
  });

  test("do not wait for those of another one", async () => {
    const { asked, request, untilAsked } = setup();
    void request("a");
    const other = request("b");
    await untilAsked(2);
    expect(asked.map(({ token }) => token)).toEqual(["a", "b"]);
    asked[1]!.answer(8n);
    expect(await other).toBe(8n);
  });
});
