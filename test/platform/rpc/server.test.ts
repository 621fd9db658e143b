import { describe, expect, test } from "bun:test";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { Health, HealthCheckResponse_ServingStatus as Status } from "#gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "#gen/grpc/reflection/v1/reflection_pb.ts";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { ErrorInfoSchema } from "#gen/leadcast/errors/v1/error_info_pb.ts";
import { ErrorReason } from "#services/platform/domain-error.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { withRequestId } from "#services/platform/rpc/context.ts";
import { reasonFromError } from "#services/platform/rpc/errors.ts";
import { fullToken, sessionToken, startAccountServer } from "#test/platform/account-server.ts";
import { eventually } from "#test/support/eventually.ts";

const accountPath = "/leadcast.account.v1.AccountService";

async function failureOf(work: Promise<unknown>): Promise<ConnectError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof ConnectError) return error;
  throw new Error("the call did not fail", { cause: error });
}

function post(url: string, body: string, headers: Record<string, string> = {}): Promise<Response> {
  const defaults = { "content-type": "application/json", authorization: `Bearer ${fullToken}` };
  return fetch(url, { method: "POST", body, headers: { ...defaults, ...headers } });
}

describe("createRpcServer", () => {
  test("answers plain JSON over HTTP/1.1 and gives the request id back", async () => {
    await using world = await startAccountServer();
    const url = `${world.baseUrl}${accountPath}/ResolveSession`;
    const response = await post(url, '{"token":"abc"}', { "x-request-id": "req-1" });
    expect(response.status).toBe(200);
    expect(response.headers.get("x-request-id")).toBe("req-1");
    expect(await response.json()).toEqual({ accountId: "3", paid: true });
    expect(world.log.records()).toMatchObject([
      {
        rpc: "leadcast.account.v1.AccountService/ResolveSession",
        code: "ok",
        requestId: "req-1",
        caller: "full",
        durationMs: expect.any(Number),
      },
    ]);
  });

  test("answers an idempotent read over GET", async () => {
    await using world = await startAccountServer();
    const message = encodeURIComponent('{"accountId":"1"}');
    const url = `${world.baseUrl}${accountPath}/GetAccount?connect=v1&encoding=json&message=${message}`;
    const response = await fetch(url, { headers: { authorization: `Bearer ${fullToken}` } });
    expect(await response.json()).toMatchObject({ account: { id: "1" } });
  });

  test("carries the caller's request id into handlers and onwards", async () => {
    await using world = await startAccountServer();
    const { account } = await withRequestId("outer-7", () => world.client.getAccount({ accountId: 1n }));
    expect(account?.name).toBe("outer-7");
    const forged = await post(`${world.baseUrl}${accountPath}/GetAccount`, '{"accountId":"1"}', {
      "x-request-id": "a b",
    });
    expect(forged.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
  });

  test("refuses a call without a known token, and one that the token does not allow", async () => {
    await using world = await startAccountServer();
    const withToken = (token: string) =>
      createClient(AccountService, createRpcTransport({ baseUrl: world.baseUrl, token }));
    const unknown = await failureOf(withToken("unknown-token-0123456789").getAccount({ accountId: 1n }));
    expect(unknown.code).toBe(Code.Unauthenticated);
    expect(reasonFromError(unknown).reason).toBe(ErrorReason.UNAUTHENTICATED);
    const missing = await post(`${world.baseUrl}${accountPath}/GetAccount`, "{}", { authorization: "" });
    expect(missing.status).toBe(401);
    const forbidden = await failureOf(withToken(sessionToken).getAccount({ accountId: 1n }));
    expect(forbidden.code).toBe(Code.PermissionDenied);
    expect(reasonFromError(forbidden).reason).toBe(ErrorReason.FORBIDDEN);
    expect(await withToken(sessionToken).resolveSession({ token: "ab" })).toMatchObject({ accountId: 2n });
    expect(world.calls()).toBe(0);
    const codes = world.log.records().map((record) => record.code);
    expect(codes).toEqual(["unauthenticated", "unauthenticated", "permission_denied", "ok"]);
  });

  test("validates requests and names the field", async () => {
    await using world = await startAccountServer();
    const failure = reasonFromError(await failureOf(world.client.getAccount({ accountId: 0n })));
    expect(failure).toMatchObject({ reason: ErrorReason.INVALID_ARGUMENT, field: "account_id" });
    expect(world.calls()).toBe(0);
  });

  test("refuses a message above the limit, and one that cannot be parsed, with a typed detail", async () => {
    await using world = await startAccountServer({ maxMessageBytes: 1_000 });
    const large = await failureOf(world.client.putTariff({ tariff: { name: "x".repeat(2_000) } }));
    expect(large.code).toBe(Code.ResourceExhausted);
    expect(large.findDetails(ErrorInfoSchema)).toMatchObject([{ reason: ErrorReason.INVALID_ARGUMENT }]);
    const malformed = await post(`${world.baseUrl}${accountPath}/GetAccount`, "{");
    expect(await malformed.json()).toMatchObject({
      code: "invalid_argument",
      details: [{ type: "leadcast.errors.v1.ErrorInfo", debug: { reason: "ERROR_REASON_INVALID_ARGUMENT" } }],
    });
    expect(world.log.records().map(({ code }) => code)).toEqual(["resource_exhausted", "invalid_argument"]);
  });

  const gzip = { "content-encoding": "gzip" };
  test.each([
    ["is no protobuf", { "content-type": "application/proto" }, "\xff\xff"],
    ["holds a text that is no UTF-8", { "content-type": "application/proto" }, "\n\x02\xff\xfe"],
    ["is no gzip", { ...gzip, "content-type": "application/json" }, "{}"],
    ["is half a gzip", { ...gzip, "content-type": "application/json" }, "\x1f\x8b\x08\0\0\0\0\0\0\x03\xab"],
  ])("calls a message that %s the caller's fault", async (_name, header, body) => {
    await using world = await startAccountServer();
    const reply = await fetch(`${world.baseUrl}${accountPath}/PutTariff`, {
      method: "POST",
      body: Buffer.from(body, "latin1"),
      headers: { authorization: `Bearer ${fullToken}`, ...header },
    });
    expect([reply.status, await reply.json()]).toMatchObject([
      400,
      { code: "invalid_argument", details: [{ debug: { reason: "ERROR_REASON_INVALID_ARGUMENT" } }] },
    ]);
    expect(world.log.records()).toMatchObject([{ level: "info", code: "invalid_argument" }]);
  });

  test("calls a query that is no base64 the caller's fault", async () => {
    await using world = await startAccountServer();
    const url = `${world.baseUrl}${accountPath}/GetAccount?connect=v1&encoding=proto&base64=1&message=!`;
    const reply = await fetch(url, { headers: { authorization: `Bearer ${fullToken}` } });
    expect(await reply.json()).toMatchObject({ code: "invalid_argument", message: expect.stringContaining("base64") });
  });

  test("asks for HTTP/2 where a call streams both ways", async () => {
    await using world = await startAccountServer();
    const path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    const reply = await post(`${world.baseUrl}${path}`, "", { "content-type": "application/connect+json" });
    expect([reply.status, reply.headers.get("upgrade"), await reply.text()]).toEqual([
      426,
      "h2c",
      expect.stringContaining("HTTP/2"),
    ]);
  });

  test("refuses JSON with a field that the message does not have: it may have been meant to choose", async () => {
    await using world = await startAccountServer();
    for (const body of ['{"accountId":"1","account":"2"}', '{"accountId":"1","__proto__":{}}', '{"AccountId":"1"}']) {
      const reply = await post(`${world.baseUrl}${accountPath}/GetAccount`, body);
      expect(await reply.json()).toMatchObject({
        code: "invalid_argument",
        message: expect.stringMatching(/key "\w+" is unknown/),
        details: [{ debug: { reason: "ERROR_REASON_INVALID_ARGUMENT" } }],
      });
    }
    expect((await post(`${world.baseUrl}${accountPath}/GetAccount`, '{"account_id":"1"}')).status).toBe(200);
    expect(world.calls()).toBe(1);
  });

  test("ends a call at its deadline although the handler does not", async () => {
    await using world = await startAccountServer({ maxTimeoutMs: 300 });
    const late = await failureOf(world.client.getAccount({ accountId: 3n }, { timeoutMs: 50 }));
    expect(late.code).toBe(Code.DeadlineExceeded);
    expect(reasonFromError(late).reason).toBe(ErrorReason.UNAVAILABLE);
    // Asks for no deadline, and for one that is later than the server allows.
    const headers: Record<string, string>[] = [{}, { "connect-timeout-ms": "60000" }];
    for (const header of headers) {
      const response = await post(`${world.baseUrl}${accountPath}/GetAccount`, '{"accountId":"3"}', header);
      expect(await response.json()).toMatchObject({ code: "deadline_exceeded" });
    }
  });

  test("keeps a bug's words out of the reply and secrets out of the log", async () => {
    await using world = await startAccountServer();
    const failure = reasonFromError(await failureOf(world.client.getAccount({ accountId: 4n })));
    expect(failure.reason).toBe(ErrorReason.INTERNAL);
    expect(failure.message).toStartWith("Something went wrong on our side; the request id is ");
    expect(world.log.text()).toContain("cannot use [redacted]");
    expect(world.log.text()).not.toContain("AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw");
  });

  test.each(["1.1", "2"] as const)(
    "tells a stream's handler that its caller left, over HTTP/%s",
    async (httpVersion) => {
      await using world = await startAccountServer();
      const abort = new AbortController();
      const options = {
        signal: abort.signal,
        headers: { "x-request-id": "watch-1", authorization: `Bearer ${fullToken}` },
      };
      const { broadcasts, baseUrl } = world;
      const overHttp2 = createConnectTransport({ baseUrl, httpVersion: "2" });
      const client = httpVersion === "2" ? createClient(BroadcastService, overHttp2) : broadcasts;
      const stream = client.watchBroadcast({ accountId: 1n, broadcastId: 8n }, options);
      const failure = failureOf(
        (async () => {
          for await (const { progress } of stream) {
            expect(progress?.pauseReason).toBe("8");
            abort.abort();
          }
        })(),
      );
      expect((await failure).code).toBe(Code.Canceled);
      await eventually(() => world.aborted.includes("watch-1"));
      const record = await eventually(() => world.log.records().find(({ requestId }) => requestId === "watch-1"));
      expect(record).toMatchObject({ code: "canceled" });
    },
  );

  test("finishes a call in flight, ends streams and takes no new calls when it stops", async () => {
    await using world = await startAccountServer();
    const inFlight = world.client.getAccount({ accountId: 2n });
    const stream = world.broadcasts.watchBroadcast({ accountId: 1n, broadcastId: 8n });
    const reader = stream[Symbol.asyncIterator]();
    await reader.next();
    await eventually(() => world.calls() === 1);
    const stopped = world.server.stop();
    expect((await failureOf(reader.next())).code).toBe(Code.Unavailable);
    const refused = await failureOf(world.client.getAccount({ accountId: 1n }));
    expect(reasonFromError(refused).reason).toBe(ErrorReason.UNAVAILABLE);
    world.release();
    expect(await inFlight).toMatchObject({ account: { id: 2n } });
    await stopped;
  });

  test("cuts what is still running at the drain deadline", async () => {
    await using world = await startAccountServer({ drainTimeoutMs: 50 });
    const stuck = failureOf(world.client.getAccount({ accountId: 3n }));
    await eventually(() => world.calls() === 1);
    await world.server.stop();
    expect((await stuck).code).toBe(Code.Unavailable);
  });

  test("can be stopped twice and before it started, and then does not start", async () => {
    const world = await startAccountServer();
    await Promise.all([world.server.stop(), world.server.stop()]);
    await world.server.stop();
    expect(world.server.start()).rejects.toThrow("cannot start again");
  });

  test("says in one sentence that its port is taken", async () => {
    await using world = await startAccountServer();
    const { port } = world.server;
    expect(startAccountServer({ port })).rejects.toThrow(`Port ${port} on 127.0.0.1 is taken by another process.`);
  });

  test("serves health for those who only speak HTTP, and 404 for the rest", async () => {
    let ready = true;
    await using world = await startAccountServer({ readyCheck: async () => ready });
    const healthy = await fetch(`${world.baseUrl}/healthz`);
    expect([healthy.status, await healthy.json()]).toEqual([200, { ready: true }]);
    ready = false;
    await eventually(async () => (await fetch(`${world.baseUrl}/healthz`)).status === 503);
    expect((await fetch(`${world.baseUrl}/metrics`)).status).toBe(404);
    expect((await fetch(`${world.baseUrl}/leadcast.account.v1.AccountService/Nothing`)).status).toBe(404);
    expect((await fetch(`${world.baseUrl}/`)).status).toBe(404);
  });

  test("lets a browser from any origin call", async () => {
    await using world = await startAccountServer();
    const url = `${world.baseUrl}${accountPath}/ResolveSession`;
    const preflight = await fetch(url, { method: "OPTIONS", headers: { origin: "https://app.example" } });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("*");
    const allowed = preflight.headers.get("access-control-allow-headers")?.split(", ");
    for (const name of ["authorization", "x-request-id", "traceparent", "tracestate", "baggage", "sentry-trace"]) {
      expect(allowed).toContain(name);
    }
    const response = await post(url, '{"token":"a"}', { origin: "https://app.example" });
    expect(response.headers.get("access-control-expose-headers")).toContain("Grpc-Status");
  });
});

describe("health", () => {
  test("checks each service by name and needs no token", async () => {
    await using world = await startAccountServer({ readyCheck: () => Promise.reject(new Error("database is away")) });
    const health = createClient(Health, createRpcTransport({ baseUrl: world.baseUrl, token: "unknown-0123456789" }));
    expect((await health.check({})).status).toBe(Status.NOT_SERVING);
    expect((await health.check({ service: AccountService.typeName })).status).toBe(Status.NOT_SERVING);
    expect((await failureOf(health.check({ service: "nobody.v1.NoService" }))).code).toBe(Code.NotFound);
    expect(Object.keys((await health.list({})).statuses)).toContain(AccountService.typeName);
  });

  test("answers as many calls on one HTTP/2 connection as are made", async () => {
    await using world = await startAccountServer({ limits: { streamsPerConnection: 5 } });
    const transport = createConnectTransport({ baseUrl: world.baseUrl, httpVersion: "2" });
    const health = createClient(Health, transport);
    for (let call = 0; call < 40; call++) expect((await health.check({})).status).toBe(Status.SERVING);
  });

  test("takes 4 KiB, and so does reflection", async () => {
    await using world = await startAccountServer();
    const ask = (path: string, body: string) => post(`${world.baseUrl}${path}`, body, { authorization: "" });
    const long = JSON.stringify({ service: "x".repeat(5_000) });
    expect(await (await ask("/grpc.health.v1.Health/Check", long)).json()).toMatchObject({
      code: "resource_exhausted",
    });
    const transport = createConnectTransport({ baseUrl: world.baseUrl, httpVersion: "2" });
    const reflection = createClient(ServerReflection, transport);
    const questions = (async function* () {
      yield { host: "x".repeat(5_000) };
    })();
    const answers = reflection.serverReflectionInfo(questions)[Symbol.asyncIterator]();
    expect((await failureOf(answers.next())).code).toBe(Code.ResourceExhausted);
  });

  test("tells a watcher when the status changes", async () => {
    let ready = false;
    await using world = await startAccountServer({ readyCheck: async () => ready });
    const health = createClient(Health, createRpcTransport({ baseUrl: world.baseUrl, token: fullToken }));
    const watched = health.watch({})[Symbol.asyncIterator]();
    expect((await watched.next()).value?.status).toBe(Status.NOT_SERVING);
    ready = true;
    expect((await watched.next()).value?.status).toBe(Status.SERVING);
  });
});
