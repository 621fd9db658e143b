import { describe, expect, test } from "bun:test";
import { DomainError, ErrorReason, type Reason } from "#services/platform/domain-error.ts";
import { endpoints } from "../../gateway/app.ts";
import { accountId, authorized, envelopeOf, type Replies, setup, token } from "./gateway-world.ts";

const start = "/api/broadcast/start.json";
const unpaid: Replies = { ResolveSession: { accountId, paid: false } };
const refuses = (reason: Reason) => new DomainError(reason, "no");

function send(world: ReturnType<typeof setup>, path: string, init: RequestInit = {}) {
  return world.handle(new Request(`http://localhost${path}`, init));
}

describe("the order of checks", () => {
  const bad = { method: "POST", body: "{", headers: { "content-type": "application/json" } };
  const badAndKnown = { ...bad, headers: { ...bad.headers, ...authorized } };

  test("asks for the session before anything else", async () => {
    for (const path of [start, "/api/nothing.json", "/api"]) {
      const world = setup();
      expect(await envelopeOf(send(world, path, bad))).toMatchObject({ error: "key" });
      expect(world.calls).toEqual([]);
    }
  });

  test("then whether it is paid for", async () => {
    for (const path of [start, "/api/nothing.json"]) {
      expect(await envelopeOf(send(setup(unpaid), path, badAndKnown))).toMatchObject({ error: "unpaid" });
    }
  });

  test("then the parameters, before the service hears of it", async () => {
    const world = setup({ StartBroadcast: refuses(ErrorReason.NOT_YOURS) });
    expect(await envelopeOf(send(world, start, badAndKnown))).toMatchObject({ error: "func" });
    expect(world.calls).toEqual([]);
  });

  test("and then what the service finds", async () => {
    const world = setup({ StartBroadcast: refuses(ErrorReason.NOT_YOURS) });
    expect(await envelopeOf(world.post(start, { id: "5" }))).toMatchObject({ error: "access" });
  });

  test.each(endpoints.map(({ method, path }) => [method, path]))(
    "starts with key and unpaid for %s %s",
    async (method, path) => {
      expect(await envelopeOf(send(setup(), path, { method }))).toMatchObject({ error: "key" });
      expect(await envelopeOf(send(setup(unpaid), path, { method, headers: authorized }))).toMatchObject({
        error: "unpaid",
      });
    },
  );
});

describe("the session", () => {
  test("is what the bearer token says it is", async () => {
    const world = setup();
    await world.get("/api/broadcast/quota.json");
    expect(world.sessions[0]?.request).toEqual({ token });
  });

  test.each([
    ["no header", {}],
    ["another scheme", { authorization: `Basic ${token}` }],
    ["no token", { authorization: "Bearer" }],
    ["a token with spaces", { authorization: "Bearer a b" }],
    ["a token of 256 characters", { authorization: `Bearer ${"a".repeat(256)}` }],
    ["a cookie", { cookie: `session=${token}; authorization=Bearer ${token}` }],
  ])("is missing with %s", async (_case, headers) => {
    const world = setup();
    const path = `/api/broadcast/quota.json?token=${token}&authorization=${token}`;
    expect(await envelopeOf(send(world, path, { headers: headers as Record<string, string> }))).toMatchObject({
      error: "key",
    });
    expect(world.sessions).toEqual([]);
  });

  test("is key when unknown, revoked or expired, and db when nobody can tell", async () => {
    const unknown = setup({ ResolveSession: refuses(ErrorReason.SESSION_INVALID) });
    expect(await envelopeOf(unknown.get("/api/broadcast/quota.json"))).toMatchObject({ error: "key" });
    const away = setup({ ResolveSession: refuses(ErrorReason.UNAVAILABLE) });
    expect(await envelopeOf(away.get("/api/broadcast/quota.json"))).toMatchObject({ error: "db" });
  });
});

describe("an unknown call", () => {
  test.each([
    ["POST", "/api/broadcast/nothing.json"],
    ["GET", "/api/broadcast/nothing.json?x=/y"],
    ["GET", start],
    ["PUT", start],
    ["DELETE", start],
    ["PATCH", "/api/broadcast/list.json"],
    ["POST", "/api/broadcast/list.json"],
    ["OPTIONS", start],
    ["PROPFIND", start],
  ])("%s %s is func with HTTP 200", async (method, path) => {
    const world = setup();
    const response = await send(world, path, { method, headers: authorized });
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "application/json"]);
    expect(await envelopeOf(response)).toMatchObject({ status: "error", error: "func" });
    expect(world.calls).toEqual([]);
  });

  test.each([
    ["GET", "/api"],
    ["GET", "/api/"],
    ["GET", "/api/broadcast"],
    ["GET", "/api/broadcast/list.json/"],
    ["GET", "/api/broadcast/list"],
    ["POST", "/api/broadcast/list?x=.json"],
  ])("%s %s, which does not end in .json, has HTTP's codes too", async (method, path) => {
    const statusOf = async (replies: Replies, headers: Record<string, string>) => {
      const response = await send(setup(replies), path, { method, headers });
      return [response.status, (await envelopeOf(response)).error, response.headers.get("access-control-allow-origin")];
    };
    expect(await statusOf({}, authorized)).toEqual([404, "func", "*"]);
    expect(await statusOf({}, {})).toEqual([401, "key", "*"]);
    expect(await statusOf(unpaid, authorized)).toEqual([402, "unpaid", "*"]);
    expect(await statusOf({ ResolveSession: refuses(ErrorReason.UNAVAILABLE) }, authorized)).toEqual([503, "db", "*"]);
  });

  test.each([
    ["a body that breaks off", "{", "application/json"],
    ["a body of another type", "x", "image/png"],
    ["bytes that are no text", new Uint8Array([0xff]), "application/x-www-form-urlencoded"],
    ["multipart that is none", "x", "multipart/form-data; boundary=b"],
  ])("is one with 200 where the path ends in .json: %s", async (_case, body, type) => {
    const response = await send(setup(), start, {
      method: "POST",
      headers: { ...authorized, "content-type": type },
      body,
    });
    expect([response.status, (await envelopeOf(response)).error]).toEqual([200, "func"]);
  });

  test("with a wrong method says which one it is", async () => {
    expect(await envelopeOf(setup().get(start))).toMatchObject({ message: "Use POST for this call." });
    const put = send(setup(), "/api/camp/broadcast.json", { method: "PUT", headers: authorized });
    expect(await envelopeOf(put)).toMatchObject({ message: "Use GET or POST for this call." });
  });

  test("outside /api is a plain 404", async () => {
    const response = await send(setup(), "/nothing");
    expect([response.status, await response.text()]).toEqual([404, "Not found\n"]);
  });
});

describe("a page of another origin", () => {
  const sent = [
    ...["authorization", "content-type", "idempotency-key", "last-event-id", "x-request-id"],
    ...["traceparent", "tracestate", "baggage", "sentry-trace"],
  ];

  test.each([start, "/api/nothing.json", "/openapi.json", "/docs", "/docs/start.js"])(
    "may send the session's header and what tracing adds: %s",
    async (path) => {
      const headers = {
        origin: "https://dash.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": sent.join(","),
      };
      const response = await send(setup(), path, { method: "OPTIONS", headers });
      expect(response.status).toBe(204);
      expect(response.headers.get("access-control-allow-origin")).toBe("*");
      expect(response.headers.get("access-control-allow-headers")?.split(", ").sort()).toEqual([...sent].sort());
      expect(response.headers.get("access-control-allow-credentials")).toBeNull();
    },
  );

  test("may read the document, and of replies the headers that are ours", async () => {
    for (const path of ["/openapi.json", "/docs", "/api/broadcast/list.json"]) {
      const response = await setup().get(path);
      expect(response.headers.get("access-control-allow-origin")).toBe("*");
      expect(response.headers.get("access-control-expose-headers")?.split(", ").sort()).toEqual([
        "retry-after",
        "x-error",
        "x-request-id",
        "x-revision",
      ]);
    }
  });

  test("may read replies and refusals", async () => {
    for (const response of [await setup().get("/api/broadcast/list.json"), await send(setup(), "/api/x")]) {
      expect(response.headers.get("access-control-allow-origin")).toBe("*");
    }
  });
});

describe("a request id", () => {
  test("is taken, given back, and passed on to every RPC", async () => {
    const world = setup();
    const headers = { ...authorized, "x-request-id": "abc-123" };
    const response = await send(world, "/api/broadcast/quota.json", { headers });
    expect(response.headers.get("x-request-id")).toBe("abc-123");
    expect([...world.sessions, ...world.calls].map(({ requestId }) => requestId)).toEqual(["abc-123", "abc-123"]);
  });

  test("is made where there is none, or one that could forge a log line", async () => {
    for (const given of [undefined, "a b", "x".repeat(500)]) {
      const headers: Record<string, string> = given === undefined ? {} : { "x-request-id": given };
      const response = await send(setup(), "/healthz", { headers });
      expect(response.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    }
  });
});

describe("the access log", () => {
  test("has one line per request, with route and outcome and without query and token", async () => {
    const world = setup();
    await world.get("/api/broadcast/get.json?id=abc&text=private-words");
    await world.get("/api/private-words");
    expect(world.logged).toMatchObject([
      { msg: "request", method: "GET", route: "/api/broadcast/get.json", status: 200, outcome: "func", accountId: "7" },
      { msg: "request", method: "GET", route: "/api/*", outcome: "func" },
    ]);
    expect(JSON.stringify(world.logged)).not.toContain("private-words");
    expect(JSON.stringify(world.logged)).not.toContain(token);
  });

  test("goes with metrics by route and outcome", async () => {
    const world = setup();
    await world.get("/api/broadcast/quota.json");
    const text = await world.metrics();
    expect(text).toMatch(
      /leadcast_gateway_request_duration_seconds_count\{[^}]*route="\/api\/broadcast\/quota.json"[^}]*\} 1/,
    );
  });
});
