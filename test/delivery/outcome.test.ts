import { describe, expect, test } from "bun:test";
import { type BotApiReply, type Outcome, outcomeOf } from "#services/delivery/outcome.ts";
import { SendReason } from "#services/ledger/send.ts";

function error(code: number, description: string, retryAfterSeconds?: number): BotApiReply {
  return { answer: "error", status: code, code, description, retryAfterSeconds };
}

const lead = (reason: SendReason, leaves = true): Outcome => ({ outcome: "lead", reason, leaves });
const body: Outcome = { outcome: "body", reason: SendReason.body };
const media: Outcome = { outcome: "body", reason: SendReason.media };
const unknown = (reason: SendReason): Outcome => ({ outcome: "unknown", reason });

/** Every error of the Bot API's page that a bulk sender meets, and its class. */
const errors: [number, string, Outcome][] = [
  [429, "Too Many Requests: retry after 7", { outcome: "rateLimited", retryAfterSeconds: 7 }],
  [429, "Too Many Requests", { outcome: "rateLimited", retryAfterSeconds: 1 }],
  [403, "Forbidden: bot was blocked by the user", lead(SendReason.blocked)],
  [403, "Forbidden: user is deactivated", lead(SendReason.deactivated)],
  [403, "Forbidden: bot can't initiate conversation with a user", lead(SendReason.cannotInitiate)],
  [403, "Forbidden: bot can't send messages to the user", lead(SendReason.cannotSend, false)],
  [403, "Forbidden: something that we have not seen", lead(SendReason.refused, false)],
  [400, "Bad Request: chat not found", lead(SendReason.chatNotFound)],
  [400, "Bad Request: PEER_ID_INVALID", lead(SendReason.chatNotFound)],
  [400, "Bad Request: group chat was upgraded to a supergroup chat", lead(SendReason.refused, false)],
  [400, "Bad Request: can't parse entities: Can't find end of the entity starting at byte offset 4", body],
  [400, "Bad Request: message is too long", body],
  [400, "Bad Request: message caption is too long", body],
  [400, "Bad Request: message text is empty", body],
  [400, "Bad Request: inline keyboard button URL 'http://x' is invalid: Wrong HTTP URL", body],
  [400, "Bad Request: BUTTON_URL_INVALID", body],
  [400, "Bad Request: something that we have not seen", body],
  [400, "Bad Request: wrong file identifier/HTTP URL specified", media],
  [400, "Bad Request: failed to get HTTP URL content", media],
  [400, "Bad Request: wrong type of the web page content", media],
  [400, "Bad Request: PHOTO_INVALID_DIMENSIONS", media],
  [413, "Request Entity Too Large", media],
  [401, "Unauthorized", { outcome: "bot" }],
  [404, "Not Found", { outcome: "bot" }],
  [500, "Internal Server Error: restart", unknown(SendReason.serverError)],
  [502, "Bad Gateway", unknown(SendReason.serverError)],
  [503, "Service Unavailable", unknown(SendReason.serverError)],
  [504, "Gateway Timeout", unknown(SendReason.serverError)],
  [302, "Found", unknown(SendReason.serverError)],
];

describe("outcomeOf", () => {
  test.each(errors)("knows %d %s", (code, description, outcome) => {
    expect(outcomeOf(error(code, description))).toEqual(outcome);
  });

  test("believes the parameter before the words, and neither where it makes no sense", () => {
    const limited = (seconds: number) => ({ outcome: "rateLimited", retryAfterSeconds: seconds }) as const;
    expect(outcomeOf(error(429, "Too Many Requests: retry after 7", 35))).toEqual(limited(35));
    expect(outcomeOf(error(429, "Too Many Requests", 0))).toEqual(limited(1));
    expect(outcomeOf(error(429, "Too Many Requests", -3))).toEqual(limited(1));
  });

  test("takes an accepted message for sent", () => {
    const reply: BotApiReply = { answer: "ok", messageId: 5, fileId: "file" };
    expect(outcomeOf(reply)).toEqual({ outcome: "sent", messageId: 5, fileId: "file" });
  });

  test("takes a connection that never opened for proof, and a lost answer for none", () => {
    expect(outcomeOf({ answer: "refused" })).toEqual({ outcome: "refused" });
    expect(outcomeOf({ answer: "lost", how: "timeout" })).toEqual(unknown(SendReason.timeout));
    expect(outcomeOf({ answer: "lost", how: "cut" })).toEqual(unknown(SendReason.connectionCut));
    expect(outcomeOf({ answer: "lost", how: "unreadable" })).toEqual(unknown(SendReason.unreadableReply));
  });
});
