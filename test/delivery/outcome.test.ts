import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SendReason } from "#services/core/ledger/send.ts";
import { type BotApiReply, type Outcome, outcomeOf } from "#services/delivery/outcome.ts";
import { meaningOf, normalisedWords } from "#services/delivery/refusal-words.ts";

function error(code: number, description: string, retryAfterSeconds?: number): BotApiReply {
  return { answer: "error", status: code, code, description, retryAfterSeconds };
}

const foreign = (status: number, upload = false): BotApiReply => ({ answer: "foreign", status, upload });
const lead = (reason: SendReason, leaves = true) => ({ outcome: "lead", reason, leaves });
const body = { outcome: "body", reason: SendReason.body };
const media = { outcome: "body", reason: SendReason.media };
const unlisted = { outcome: "unlisted", reason: SendReason.body, suspicion: { limit: 5 } };
const watched = { outcome: "unlisted", suspicion: { limit: 5 } };
const unknown = (reason: SendReason) => ({ outcome: "unknown", reason });
const moment = { outcome: "refused", reason: SendReason.turnedAway };
const limited = (seconds: number): Outcome => ({ outcome: "rateLimited", retryAfterSeconds: seconds });

/** The Bot API's sentences that a bulk sender meets, and their class. */
const sentences: [number, string, object][] = [
  [429, "Too Many Requests: retry after 7", limited(7)],
  [429, "Too Many Requests", limited(1)],
  [403, "Forbidden: bot was blocked by the user", lead(SendReason.blocked)],
  [403, "Forbidden: user is deactivated", lead(SendReason.deactivated)],
  [403, "Forbidden: bot can't initiate conversation with a user", lead(SendReason.cannotInitiate)],
  [403, "Forbidden: bot can't send messages to the user", lead(SendReason.cannotSend, false)],
  [403, "Forbidden: bot can't send messages to bots", lead(SendReason.cannotSend, false)],
  [403, "Forbidden: bot was kicked from the group chat", lead(SendReason.refused, false)],
  [403, "Forbidden: bot is not a member of the channel chat", lead(SendReason.refused, false)],
  [403, "Forbidden: the group chat was deleted", lead(SendReason.refused, false)],
  [403, "Forbidden: something that we have not seen", { outcome: "unlisted", reason: SendReason.refused }],
  [400, "Bad Request: chat not found", { ...lead(SendReason.chatNotFound), suspicion: { limit: 20 } }],
  [400, "Bad Request: user not found", lead(SendReason.chatNotFound)],
  [400, "Bad Request: group chat was upgraded to a supergroup chat", lead(SendReason.refused, false)],
  [400, "Bad Request: not enough rights to send text messages to the chat", lead(SendReason.cannotSend, false)],
  [400, "Bad Request: have no rights to send a message", lead(SendReason.cannotSend, false)],
  [400, "Bad Request: can't parse entities: Can't find end of the entity starting at byte offset 4", body],
  [400, "Bad Request: can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard", body],
  [400, "Bad Request: message is too long", body],
  [400, "Bad Request: message caption is too long", body],
  [400, "Bad Request: message text is empty", body],
  [400, "Bad Request: inline keyboard button URL 'http://x' is invalid: Wrong HTTP URL", body],
  [400, "Bad Request: inline keyboard button URL 'http://x?u=chat not found' is invalid: Wrong HTTP URL", body],
  [400, "Bad Request: wrong file identifier/HTTP URL specified", media],
  [400, "Bad Request: wrong remote file identifier specified: Wrong padding in the string", media],
  [400, "Bad Request: failed to get HTTP URL content", media],
  [400, "Bad Request: wrong type of the web page content", media],
  [400, "Bad Request: type of file mismatch", media],
  [400, "Bad Request: there is no photo in the request", media],
  [413, "Request Entity Too Large", media],
  [413, "Something is too large", { outcome: "unlisted", reason: SendReason.media }],
  [401, "Unauthorized", { outcome: "bot" }],
  [404, "Not Found", { outcome: "bot" }],
  [400, "Logged out", unlisted],
  [400, "Bad Request: something that we have not seen", unlisted],
  [409, "Conflict: something that we have not seen", unlisted],
  [400, "", unlisted],
  [500, "Internal Server Error: restart", unknown(SendReason.serverError)],
  [502, "Bad Gateway", unknown(SendReason.serverError)],
  [503, "Service Unavailable", unknown(SendReason.serverError)],
  [504, "Gateway Timeout", unknown(SendReason.serverError)],
  [302, "Found", unknown(SendReason.serverError)],
  [408, "Request Timeout", unknown(SendReason.serverError)],
];

/** Names that Telegram documents for messages.sendMessage and messages.sendMedia, by class. */
const names: [string, object][] = [
  ["USER_IS_BLOCKED", lead(SendReason.blocked)],
  ["INPUT_USER_DEACTIVATED USER_DEACTIVATED", lead(SendReason.deactivated)],
  ["PEER_ID_INVALID CHAT_ID_INVALID USER_ID_INVALID", lead(SendReason.chatNotFound)],
  ["CHANNEL_INVALID CHANNEL_PRIVATE TOPIC_CLOSED TOPIC_DELETED", lead(SendReason.refused, false)],
  [
    `YOU_BLOCKED_USER USER_IS_BOT CHAT_WRITE_FORBIDDEN CHAT_RESTRICTED CHAT_ADMIN_REQUIRED CHAT_GUEST_SEND_FORBIDDEN
    CHAT_SEND_PLAIN_FORBIDDEN CHAT_SEND_MEDIA_FORBIDDEN CHAT_SEND_PHOTOS_FORBIDDEN CHAT_SEND_VIDEOS_FORBIDDEN
    PRIVACY_PREMIUM_REQUIRED ALLOW_PAYMENT_REQUIRED_25 VOICE_MESSAGES_FORBIDDEN CHAT_FORWARDS_RESTRICTED`,
    lead(SendReason.cannotSend, false),
  ],
  [
    `MESSAGE_EMPTY MESSAGE_TOO_LONG MEDIA_CAPTION_TOO_LONG ENTITIES_TOO_LONG ENTITY_BOUNDS_INVALID BUTTON_URL_INVALID
    BUTTON_DATA_INVALID BUTTON_TYPE_INVALID BUTTON_USER_INVALID BUTTON_COPY_TEXT_INVALID ENTITY_MENTION_USER_INVALID
    REPLY_MARKUP_INVALID REPLY_MARKUP_TOO_LONG WC_CONVERT_URL_INVALID QUOTE_TEXT_INVALID MSG_ID_INVALID`,
    body,
  ],
  [
    `FILE_REFERENCE_EXPIRED FILE_REFERENCE_INVALID FILE_REFERENCE_EMPTY FILE_REFERENCE_0_EXPIRED FILE_PART_3_MISSING
    FILE_PARTS_INVALID FILE_PART_LENGTH_INVALID FILE_ID_INVALID IMAGE_PROCESS_FAILED INPUT_FILE_INVALID MEDIA_EMPTY
    MEDIA_INVALID MD5_CHECKSUM_INVALID PHOTO_EXT_INVALID PHOTO_INVALID PHOTO_INVALID_DIMENSIONS PHOTO_SAVE_FILE_INVALID
    VIDEO_CONTENT_TYPE_INVALID VIDEO_FILE_INVALID WEBPAGE_CURL_FAILED WEBPAGE_MEDIA_EMPTY EXTERNAL_URL_INVALID
    DOCUMENT_INVALID TTL_MEDIA_INVALID EXTENDED_MEDIA_INVALID`,
    media,
  ],
  ["FLOOD_WAIT_35 FLOOD_PREMIUM_WAIT_35", limited(35)],
  ["P0NY_FLOODWAIT", limited(1)],
  ["SLOWMODE_WAIT_10", { outcome: "postponed", retryAfterMs: 10_000 }],
  ["MSG_WAIT_FAILED TIMEOUT RPC_CALL_FAIL WORKER_BUSY_TOO_LONG_RETRY", moment],
  ["RANDOM_ID_DUPLICATE", unknown(SendReason.serverError)],
  // About the bot, and so watched.
  ["PEER_FLOOD FROZEN_METHOD_INVALID FROZEN_PARTICIPANT_MISSING USER_BANNED_IN_CHANNEL BOT_INVALID", watched],
];
const eachName = names.flatMap(([list, outcome]) => list.split(/\s+/).map((name) => [name, outcome] as const));

const kinds: Outcome["outcome"][] = [
  ...(["sent", "lead", "body", "unlisted", "bot", "rateLimited"] as const),
  ...(["refused", "unknown", "postponed"] as const),
];

describe("outcomeOf", () => {
  test.each(sentences)("knows %d %s", (code, description, outcome) => {
    expect(outcomeOf(error(code, description))).toMatchObject(outcome);
  });

  test.each(eachName)("takes %s for what its sentence would be, under every status of a refusal", (name, outcome) => {
    for (const description of [
      `Bad Request: ${name}`,
      `Forbidden: ${name}`,
      name,
      `[400] group send failed [${name}]`,
    ]) {
      for (const code of [400, 403, 406, 420]) {
        expect(outcomeOf(error(code, description))).toMatchObject(outcome);
      }
    }
  });

  test("believes no name that stands in what the Bot API quotes from the message", () => {
    const description = "Bad Request: button text 'x: USER_IS_BLOCKED' was not liked";
    expect(outcomeOf(error(400, description)).outcome).toBe("unlisted");
  });

  test("believes the parameter before the words, and neither where it makes no sense", () => {
    expect(outcomeOf(error(429, "Too Many Requests: retry after 7", 35))).toEqual(limited(35));
    expect(outcomeOf(error(429, "Too Many Requests", 0))).toEqual(limited(1));
    expect(outcomeOf(error(429, "Too Many Requests", -3))).toEqual(limited(1));
    expect(outcomeOf(error(429, "Too Many Requests", 1e12))).toEqual(limited(604_800));
    expect(outcomeOf(error(429, "Too Many Requests", Number.NaN))).toEqual(limited(1));
  });

  test("takes an accepted message for sent", () => {
    const reply: BotApiReply = { answer: "ok", messageId: 5, fileId: "file" };
    expect(outcomeOf(reply)).toEqual({ outcome: "sent", messageId: 5, fileId: "file" });
  });

  test("takes a connection that never opened for proof, and a lost answer for none", () => {
    expect(outcomeOf({ answer: "refused" })).toEqual({ outcome: "refused", reason: SendReason.connectionRefused });
    expect(outcomeOf({ answer: "lost", how: "timeout" })).toMatchObject(unknown(SendReason.timeout));
    expect(outcomeOf({ answer: "lost", how: "cut" })).toMatchObject(unknown(SendReason.connectionCut));
    expect(outcomeOf({ answer: "lost", how: "unreadable" })).toMatchObject(unknown(SendReason.unreadableReply));
  });

  test.each([
    ...[400, 401, 402, 403, 404, 405, 407, 411, 413, 418, 421, 426, 431, 451].map((s) => [s, moment] as const),
    ...[408, 499, 500, 501, 502, 503, 504, 520, 524, 301, 302, 307].map(
      (s) => [s, unknown(SendReason.serverError)] as const,
    ),
    [429, limited(1)] as const,
  ])("blames neither lead nor body nor token for a %d that is not Telegram's", (status, outcome) => {
    expect(outcomeOf(foreign(status))).toMatchObject(outcome);
  });

  test("blames a file that is too large on the way, and waits as long as a 429 on the way says", () => {
    expect(outcomeOf(foreign(413, true))).toMatchObject({ outcome: "unlisted", reason: SendReason.media });
    expect(outcomeOf({ answer: "foreign", status: 429, retryAfterSeconds: 30 })).toEqual(limited(30));
  });

  test("never blames a lead or drops an answer for words that nobody has published", () => {
    const word = fc.stringMatching(/^[a-z]{3,9}$/);
    const sentence = fc.array(word, { minLength: 1, maxLength: 8 }).map((words) => `Bad Request: ${words.join(" ")}`);
    const name = fc
      .array(fc.stringMatching(/^[A-Z][A-Z0-9]{2,8}$/), { minLength: 2, maxLength: 4 })
      .map((parts) => `Bad Request: ${parts.join("_")}`);
    const code = fc.integer({ min: 400, max: 499 }).filter((c) => ![401, 404, 408, 429, 499].includes(c));
    fc.assert(
      fc.property(fc.oneof(sentence, name), code, (description, status) => {
        fc.pre(meaningOf(description) === undefined);
        const outcome = outcomeOf(error(status, description));
        expect(outcome).toMatchObject({ outcome: "unlisted", suspicion: { limit: 5, words: description } });
      }),
    );
  });

  test("has a class for whatever comes, and a pause that ends", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 999 }),
        fc.string(),
        fc.option(fc.double()),
        (code, description, seconds) => {
          const outcome = outcomeOf(error(code, description, seconds ?? undefined));
          expect(kinds).toContain(outcome.outcome);
          if (outcome.outcome !== "rateLimited") return;
          expect(outcome.retryAfterSeconds).toBeGreaterThan(0);
          expect(outcome.retryAfterSeconds).toBeLessThanOrEqual(604_800);
        },
      ),
    );
  });
});

describe("normalisedWords", () => {
  test("are the same for refusals that differ in what they name", () => {
    const of = (chat: number, text: string) =>
      normalisedWords(400, `Bad Request: chat ${chat} of '${text}' is frozen (request a8f${chat}c)`);
    expect(of(1, "one")).toBe(of(234_567, "another one"));
    expect(of(1, "one")).not.toBe(normalisedWords(403, `Bad Request: chat 1 of 'one' is frozen (request a8f1c)`));
    expect(normalisedWords(400, "Bad Request: can't do this, isn't allowed")).toBe("400 can't do this, isn't allowed");
  });
});
