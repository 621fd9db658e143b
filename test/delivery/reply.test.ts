import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { outcomeOf } from "#services/delivery/outcome.ts";
import { type Asked, answeredReply } from "#services/delivery/reply.ts";

const TOKEN = "1:secretsecretsecretsecret";
const NOW = Date.parse("2026-11-26T00:00:00Z");

interface Given {
  asked?: Asked;
  retryAfter?: string;
}

/** What an answer comes to. */
function outcome(status: number, body: unknown, { asked = "send", retryAfter }: Given = {}) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return outcomeOf(answeredReply({ status, retryAfter, text }, TOKEN, asked, NOW));
}

const PAGE = "<html><body><h1>413 Request Entity Too Large</h1></body></html>";
const accepted = { ok: true, result: { message_id: 7 } };
const refused = (error_code: unknown, description: unknown = "Bad Request: chat not found") => ({
  ok: false,
  error_code,
  description,
});

describe("answeredReply", () => {
  test.each([
    ["an acceptance", 200, accepted, "sent"],
    ["an acceptance with a number that cannot be stored", 200, { ok: true, result: { message_id: 1.5 } }, "sent"],
    ["ok without a result", 200, { ok: true }, "unknown"],
    ["ok with a result that is no message", 200, { ok: true, result: true }, "unknown"],
    ["an acceptance under a 4xx", 400, accepted, "unknown"],
    ["an acceptance under a 5xx", 502, accepted, "unknown"],
    ["a refusal under 200", 200, refused(400), "lead"],
    ["a refusal under 200 that has no code", 200, refused(undefined), "unknown"],
    ["a refusal under 200 that is none", 200, refused(200), "unknown"],
    ["a 5xx under 200", 200, refused(500, "Internal Server Error"), "unknown"],
    ["a refusal without a code", 400, refused(undefined), "lead"],
    ["a refusal whose code is a text", 400, refused("400"), "lead"],
    ["a refusal without words", 400, refused(400, null), "unlisted"],
    ["a refusal whose words are none", 400, refused(400, { a: 1 }), "unlisted"],
    ["another 4xx than its code", 403, refused(400), "lead"],
    ["a 400 whose code is 401", 400, refused(401, "Unauthorized"), "unlisted"],
    ["a 401 whose code is 400", 401, refused(400), "bot"],
    ["a 400 whose code is 429", 400, refused(429, "Too Many Requests: retry after 5"), "rateLimited"],
    ["a 429 whose code is 400", 429, refused(400), "rateLimited"],
    ["a 400 whose code is 500", 400, refused(500, "Internal Server Error"), "unknown"],
    ["a refusal under 502", 502, refused(403, "Forbidden: bot was blocked by the user"), "unknown"],
    ["a refusal under 408", 408, refused(400), "unknown"],
    ["a refusal under 302", 302, refused(400), "unknown"],
    ["a list", 400, [], "refused"],
    ["JSON of something else", 403, { error: "forbidden", ok: "false" }, "refused"],
    ["null", 404, "null", "refused"],
    ["nothing", 401, "", "refused"],
    ["half of a refusal", 400, '{"ok":false,"error_co', "refused"],
    ["a page", 403, PAGE, "refused"],
    ["a page under 408", 408, PAGE, "unknown"],
    ["a page under 499", 499, PAGE, "unknown"],
    ["a page under 502", 502, PAGE, "unknown"],
    ["a page under 200", 200, PAGE, "unknown"],
    ["nothing under 204", 204, "", "unknown"],
    ["a page under 413", 413, PAGE, "refused"],
  ] as const)("takes %s (%d %j) as %s", (_, status, body, expected) => {
    expect(outcome(status, body).outcome).toBe(expected);
  });

  test("takes a page under 413 for the file's, where there was one", () => {
    expect(outcome(413, PAGE, { asked: "upload" })).toMatchObject({ outcome: "unlisted", reason: 21 });
  });

  test.each([
    ["30", 30],
    [" 2.5 ", 2.5],
    ["Thu, 26 Nov 2026 00:01:30 GMT", 90],
    ["Thu, 26 Nov 2020 00:01:30 GMT", 1],
    ["soon", 1],
    [undefined, 1],
    ["99999999999", 604_800],
  ])("waits for a 429's retry-after %p: %d s", (retryAfter, seconds) => {
    expect(outcome(429, PAGE, { retryAfter })).toEqual({ outcome: "rateLimited", retryAfterSeconds: seconds });
  });

  test("takes any ok for what makes no message", () => {
    expect(outcome(200, { ok: true, result: true }, { asked: "other" }).outcome).toBe("sent");
  });

  test("keeps the file_id of the largest size, and none that is no text", () => {
    const reply = (result: object) =>
      answeredReply({ status: 200, retryAfter: undefined, text: JSON.stringify({ ok: true, result }) }, TOKEN, "send");
    const photo = [{ file_id: "small" }, { file_id: "large" }];
    expect(reply({ message_id: 1, photo })).toEqual({ answer: "ok", messageId: 1, fileId: "large" });
    expect(reply({ message_id: 1, video: { file_id: "video" } })).toMatchObject({ fileId: "video" });
    for (const odd of [
      { photo: "x" },
      { photo: [] },
      { photo: [null] },
      { video: null },
      { photo: [{ file_id: 5 }] },
    ]) {
      expect(reply({ message_id: 1, ...odd })).toEqual({ answer: "ok", messageId: 1, fileId: undefined });
    }
  });

  test("proves a refusal or an acceptance only by Telegram's own JSON, whatever comes", () => {
    const status = fc.integer({ min: 200, max: 599 });
    const body = fc.oneof(fc.json(), fc.string(), fc.constant(JSON.stringify(accepted)));
    fc.assert(
      fc.property(status, body, fc.constantFrom<Asked>("send", "upload"), (code, text, asked) => {
        const { outcome: said } = outcome(code, text, { asked });
        const isOurs = /"ok"\s*:\s*true/.test(text);
        if (said === "sent") expect(isOurs && code < 300).toBe(true);
        if (code >= 500 || code === 408 || code === 499) expect(said).toBe("unknown");
        if (said === "lead" || said === "body" || said === "bot") expect(text).toContain("false");
      }),
    );
  });
});
