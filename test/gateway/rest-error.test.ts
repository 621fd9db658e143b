import { describe, expect, test } from "bun:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { DomainError, ErrorReason, type Reason } from "#services/platform/domain-error.ts";
import { type RestCode, RestError, restCodeFromReason, restErrorFrom } from "../../gateway/rest-error.ts";
import { envelopeOf, setup } from "./gateway-world.ts";

const expected: [keyof typeof ErrorReason, RestCode][] = [
  ["UNAUTHENTICATED", "db"],
  ["FORBIDDEN", "db"],
  ["SESSION_INVALID", "key"],
  ["UNPAID", "unpaid"],
  ["INVALID_ARGUMENT", "func"],
  ["NOT_YOURS", "access"],
  ["FEATURE_MISSING", "broadcasts"],
  ["WRONG_STATE", "state"],
  ["BODY_INVALID", "func"],
  ["NOT_SET_UP", "func"],
  ["UNAVAILABLE", "db"],
  ["TELEGRAM_REFUSED", "telegram"],
  ["RATE_LIMITED", "limit"],
  ["LIMIT_REACHED", "limit"],
  ["INTERNAL", "db"],
];

describe("a refused RPC", () => {
  test.each(expected)("with the reason %s has the code %s, over the wire and with HTTP 200", async (reason, code) => {
    const refusal = new DomainError(ErrorReason[reason] as Reason, "The service's own sentence.");
    const world = setup({ StartBroadcast: refusal });
    const response = await world.post("/api/broadcast/start.json", { id: "5" });
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "application/json"]);
    const reply = await envelopeOf(response);
    expect(Object.keys(reply)).toEqual(["status", "error", "message"]);
    expect(reply).toMatchObject({ status: "error", error: code });
    if (code !== "db") expect(reply.message).toBe("The service's own sentence.");
  });

  test("is mapped for every reason that exists", () => {
    const reasons = Object.values(ErrorReason).filter((value) => typeof value === "number" && value !== 0);
    expect(Object.keys(restCodeFromReason).map(Number)).toEqual(reasons as number[]);
    expect(expected).toHaveLength(reasons.length);
  });

  test("shows nothing of a fault inside, and logs it with the request's id", async () => {
    const world = setup({ GetQuota: new Error("SELECT secret FROM accounts") });
    const response = await world.get("/api/broadcast/quota.json");
    const text = await response.text();
    expect(JSON.parse(text)).toMatchObject({ error: "db" });
    expect(text).not.toContain("SELECT");
    const requestId = response.headers.get("x-request-id") ?? "";
    expect(world.logged.filter(({ level }) => level === "error")).toMatchObject([{ requestId }]);
  });

  test("is db when a reply lacks what it must have", async () => {
    const reply = await envelopeOf(setup({ GetBroadcast: {} }).get("/api/broadcast/get.json?id=5"));
    expect(reply).toMatchObject({ error: "db" });
  });

  test("by the schema's own checks is func, under the parameter's name", async () => {
    const reply = await envelopeOf(setup().post("/api/broadcast/edit.json", { id: "5", name: "n".repeat(256) }));
    expect(reply).toMatchObject({ error: "func" });
    expect(reply.message).toStartWith("name: ");
  });
});

describe("restErrorFrom", () => {
  test.each([
    ["broadcast_id", "id"],
    ["campaign_id", "id"],
    ["audience.campaign_ids[3]", "campaigns"],
    ["audience.created_from_time", "created_from"],
    ["delay_seconds", "delay"],
    ["body.text", "text"],
    ["content", "file"],
  ])("says of the field %s that it is %s", (field, name) => {
    const error = new DomainError(ErrorReason.INVALID_ARGUMENT, `${field}: is wrong`, { field });
    expect(restErrorFrom(error).message).toBe(`${name}: is wrong`);
  });

  test("keeps a sentence that does not name the field by its path", () => {
    const error = new DomainError(ErrorReason.INVALID_ARGUMENT, "The text is too long.", { field: "body.text" });
    expect(restErrorFrom(error).message).toBe("The text is too long.");
  });

  test.each([Code.Unavailable, Code.DeadlineExceeded, Code.Canceled, Code.Internal, Code.Unknown, Code.Unimplemented])(
    "takes code %d without a reason for db",
    (code) => {
      expect(restErrorFrom(new ConnectError("", code)).code).toBe("db");
    },
  );

  test("leaves our own refusals as they are", () => {
    const error = new RestError("limit", "Slowly.");
    expect(restErrorFrom(error)).toBe(error);
  });

  test("takes anything else for db", () => {
    expect(restErrorFrom(new TypeError("x is not a function")).code).toBe("db");
    expect(restErrorFrom("thrown text").message).not.toContain("thrown text");
  });
});
