import { describe, expect, test } from "bun:test";
import { createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { type Caller, currentCaller, sessionIdFrom } from "#services/platform/rpc/context.ts";
import { fullToken, startAccountServer } from "#test/platform/account-server.ts";

const gatewayToken = "gateway-token-0123456789";

/** A server that notes on whose behalf it is called. */
async function setup() {
  const callers: (Caller | undefined)[] = [];
  const note: Interceptor = (next) => async (request) => {
    // Behind an await, as everything that a handler does.
    await Promise.resolve();
    callers.push(currentCaller());
    return await next(request);
  };
  const world = await startAccountServer({
    interceptors: [note],
    tokens: [
      { name: "gateway", secret: gatewayToken, allow: ["*"] },
      { name: "billing", secret: fullToken, allow: ["*"] },
    ],
  });
  const over = (token: string) => createClient(AccountService, createRpcTransport({ baseUrl: world.baseUrl, token }));
  return { callers, over, world, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
}

const told = { "x-client-address": "203.0.113.9", "x-client-session": sessionIdFrom("a token") };

describe("currentCaller", () => {
  test("believes the gateway on whose behalf it calls", async () => {
    await using setUp = await setup();
    await setUp.over(gatewayToken).resolveSession({ token: "abc" }, { headers: told });
    expect(setUp.callers).toEqual([{ token: "gateway", address: "203.0.113.9", session: sessionIdFrom("a token") }]);
  });

  test("believes nobody else, and takes the peer", async () => {
    await using setUp = await setup();
    await setUp.over(fullToken).resolveSession({ token: "abc" }, { headers: told });
    expect(setUp.callers).toEqual([{ token: "billing", address: "127.0.0.1", session: "" }]);
  });

  test("knows the peer of a call over HTTP/2 too", async () => {
    await using setUp = await setup();
    const client = createClient(AccountService, createGrpcTransport({ baseUrl: setUp.world.baseUrl }));
    const headers = { ...told, authorization: `Bearer ${fullToken}` };
    await client.resolveSession({ token: "abc" }, { headers });
    expect(setUp.callers).toEqual([{ token: "billing", address: "127.0.0.1", session: "" }]);
  });

  test.each([
    ["no address", "somebody", "0123456789abcdef"],
    ["a line of a log", "203.0.113.9\u0009x", "x".repeat(16)],
    ["something endless", "9".repeat(5_000), "a".repeat(5_000)],
    ["nothing", "", ""],
  ])("takes %s from the gateway for nothing", async (_, address, session) => {
    await using setUp = await setup();
    const headers = { "x-client-address": address, "x-client-session": session };
    await setUp.over(gatewayToken).resolveSession({ token: "abc" }, { headers });
    const known = session === "0123456789abcdef" ? session : "";
    expect(setUp.callers).toEqual([{ token: "gateway", address: "", session: known }]);
  });

  test("is nobody outside of a request", () => {
    expect(currentCaller()).toBeUndefined();
  });
});
