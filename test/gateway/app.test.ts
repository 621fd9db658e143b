import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { BroadcastState } from "#gen/leadcast/broadcast/v1/broadcast_pb.ts";
import { DomainError, ErrorReason, type Reason } from "#services/platform/domain-error.ts";
import { endpoints } from "../../gateway/app.ts";
import { restCodes } from "../../gateway/rest-error.ts";
import { authorized, setup } from "./gateway-world.ts";

const names = [...new Set(endpoints.flatMap(({ params }) => Object.keys(params))), "__proto__", "constructor", ""];
const paths = [...endpoints.map(({ path }) => path), "/api", "/api/", "/api/x.json", "/api/broadcast/../x", "/api/%00"];

const values = fc.oneof(
  fc.constantFrom(
    "",
    "0",
    "1",
    "5",
    "-1",
    "1e3",
    "0x10",
    "NaN",
    "9007199254740991",
    "9007199254740992",
    " 5",
    "1,2",
    "a\0b",
  ),
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.nat().map(String),
);
const pairs = fc.array(fc.tuple(fc.constantFrom(...names), values), { maxLength: 12 });
const encoded = pairs.map((all) =>
  all.map(([name, value]) => `${name}=${encodeURIComponent(value.toWellFormed())}`).join("&"),
);
const multipart = pairs.map((all) => {
  const parts = all.map(([name, value]) => `--b\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`);
  return `${parts.join("")}--b--\r\n`;
});
const jsonBody = fc.oneof(
  fc.dictionary(fc.constantFrom(...names), fc.jsonValue(), { maxKeys: 12 }).map((value) => JSON.stringify(value)),
  fc.json(),
);

const bodies = fc.oneof(
  fc.tuple(fc.constant("application/x-www-form-urlencoded"), encoded),
  fc.tuple(fc.constant("application/json"), jsonBody),
  fc.tuple(fc.constant("multipart/form-data; boundary=b"), multipart),
  fc.tuple(
    fc.constantFrom("multipart/form-data", "text/plain", "", "application/json", "multipart/form-data; boundary=b"),
    encoded,
  ),
  // Bodies that break off, or were never one.
  fc.tuple(
    fc.constantFrom("application/json", "multipart/form-data; boundary=b"),
    fc.tuple(fc.nat(200), multipart).map(([end, body]) => body.slice(0, end)),
  ),
  fc.tuple(
    fc.constantFrom("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"),
    fc.uint8Array({ maxLength: 200 }),
  ),
);

interface Shape {
  method: string;
  path: string;
  query: string;
  body: [string, string | Uint8Array];
}

const shapes: fc.Arbitrary<Shape> = fc.record({
  method: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom("GET", "POST") },
    fc.constantFrom("PUT", "DELETE", "PATCH", "OPTIONS"),
  ),
  path: fc.constantFrom(...paths),
  query: encoded,
  body: bodies,
});

function requestFrom({ method, path, query, body: [type, body] }: Shape): Request {
  const headers: Record<string, string> = { ...authorized, ...(type === "" ? {} : { "content-type": type }) };
  const sent = typeof body === "string" ? body : new Uint8Array(body);
  return new Request(`http://localhost${path}?${query}`, {
    method,
    headers,
    ...(method === "GET" ? {} : { body: sent }),
  });
}

/** What a reply may look like, and nothing more. HTTP's own codes are for paths that do not end in `.json`. */
function expectEnvelope(path: string, response: Response, text: string): void {
  const httpStatus = path.endsWith(".json") ? 200 : 404;
  expect([response.status, response.headers.get("content-type")]).toEqual([httpStatus, "application/json"]);
  const { status, data, error, message, ...more } = JSON.parse(text) as Record<string, unknown>;
  expect(more).toEqual({});
  if (status === "ok") {
    expect([error, message]).toEqual([undefined, undefined]);
    return;
  }
  expect([status, data]).toEqual(["error", undefined]);
  expect(Object.keys(restCodes)).toContain(error as string);
  expect(message).toMatch(/\w/);
}

const broadcast = { id: 5n, state: BroadcastState.DRAFT };

describe("whatever comes in", () => {
  test("every reply below /api is an envelope with a documented code, and none is db", async () => {
    const world = setup({ GetBroadcast: { broadcast }, GetProgress: { progress: { state: BroadcastState.DRAFT } } });
    await fc.assert(
      fc.asyncProperty(shapes, async (shape) => {
        const response = await world.handle(requestFrom(shape));
        const text = await response.text();
        expectEnvelope(shape.path, response, text);
        expect(text).not.toContain('"error":"db"');
      }),
      { numRuns: 600 },
    );
  });

  test("whatever a service refuses, the reply is an envelope too", async () => {
    const reasons = Object.values(ErrorReason).filter(
      (value): value is Reason => typeof value === "number" && value > 0,
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...reasons), fc.string(), fc.string(), async (reason, message, field) => {
        const refusal = new DomainError(reason, `No. ${message}`, { field });
        const world = setup({ PauseBroadcast: refusal });
        const path = "/api/broadcast/pause.json";
        const response = await world.post(path, { id: "5" });
        expectEnvelope(path, response, await response.text());
      }),
      { numRuns: 60 },
    );
  });
});

describe("/healthz", () => {
  test("says that the process serves", async () => {
    const response = await setup().handle(new Request("http://localhost/healthz"));
    expect([response.status, await response.json()]).toEqual([200, { status: "ok" }]);
  });
});
