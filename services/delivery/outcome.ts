/**
 * What a reply of the Bot API means for a send. Classes of fault:
 *
 * - of the lead: refused for good because of this chat;
 * - of the body: every lead may meet it, so it may only fail a lead once another has had the same body;
 * - unlisted: words that nobody has published. Judged like the body's, and watched: where one lead after another meets
 *   them although the body was accepted before, the bot is at fault (services/core/ledger/fault-streak.ts);
 * - of the bot: its token is dead, which getMe must confirm (attempt.ts);
 * - of the moment: proof that it was not accepted, and it may be tried again;
 * - unknown: the request was written and nobody can say what became of it.
 *
 * reply.ts says what came back, refusal-words.ts what Telegram's words mean, and this file what follows from both.
 */
import type { Suspicion } from "#services/core/ledger/fault-streak.ts";
import { SendReason } from "#services/core/ledger/send.ts";
import { guessedReason, type Meaning, meaningOf, normalisedWords } from "./refusal-words.ts";
import { isDoubt } from "./reply.ts";

/**
 * What came back for one request: an HTTP answer (`ok`, `error`, `foreign`), proof that nothing was written (`refused`,
 * `fault`), or neither (`lost`).
 */
export type BotApiReply =
  | { answer: "ok"; messageId: number; fileId?: string }
  /** JSON with `ok: false`: only this is Telegram speaking. `code` is what its two numbers say together; see reply.ts. */
  | { answer: "error"; status?: number; code: number; description: string; retryAfterSeconds?: number }
  /** An HTTP status without Telegram's JSON. `upload` says that the request carried a file. */
  | { answer: "foreign"; status: number; upload?: boolean; retryAfterSeconds?: number }
  /** The connection was never opened: nothing was written. */
  | { answer: "refused" }
  /** Nothing was written: a mistake of ours came before the first byte. Names neither URL nor token. */
  | { answer: "fault"; message: string }
  /** Written, and the answer never came, or not whole. */
  | { answer: "lost"; how: "timeout" | "cut" | "unreadable" };

export type Outcome =
  | { outcome: "sent"; messageId: number; fileId?: string }
  | { outcome: "lead"; reason: SendReason; leaves: boolean; suspicion?: Suspicion }
  | { outcome: "body"; code: number; reason: SendReason; words: string }
  | { outcome: "unlisted"; code: number; reason: SendReason; suspicion: Suspicion }
  | { outcome: "bot" }
  | { outcome: "rateLimited"; retryAfterSeconds: number }
  | { outcome: "refused"; reason: SendReason }
  | { outcome: "unknown"; reason: SendReason }
  /** No request was written, or it may be again in a moment that only this send waits for. */
  | { outcome: "postponed"; reason: SendReason; retryAfterMs?: number };

/** A 429 without a number: what Telegram gives at least. */
const DEFAULT_RETRY_AFTER_SECONDS = 1;
/** A week: longer than Telegram has ever asked for, and short enough for every date that is reckoned with it. */
const MAX_RETRY_AFTER_SECONDS = 604_800;
/** Different leads that are refused in the same words, with no accepted send between, until the bot is at fault. */
const UNLISTED_LIMIT = 5;
const LISTED_LIMIT = 20;

const LOST_REASONS = {
  timeout: SendReason.timeout,
  cut: SendReason.connectionCut,
  unreadable: SendReason.unreadableReply,
} as const;

export function outcomeOf(reply: BotApiReply): Outcome {
  switch (reply.answer) {
    case "ok":
      return { outcome: "sent", messageId: reply.messageId, fileId: reply.fileId };
    case "refused":
      return { outcome: "refused", reason: SendReason.connectionRefused };
    case "fault":
      return { outcome: "refused", reason: SendReason.shutdown };
    case "lost":
      return { outcome: "unknown", reason: LOST_REASONS[reply.how] };
    case "foreign":
      return outcomeOfForeign(reply);
    case "error":
      return outcomeOfError(reply);
    default:
      return reply satisfies never;
  }
}

/** What was not said by Telegram blames neither lead nor body nor token, but for a file that is too large on the way. */
function outcomeOfForeign(reply: BotApiReply & { answer: "foreign" }): Outcome {
  const { status, upload } = reply;
  if (isDoubt(status)) return { outcome: "unknown", reason: SendReason.serverError };
  if (status === 429) return rateLimited(reply.retryAfterSeconds);
  if (status === 413 && upload) {
    const suspicion = unlisted(status, "the file is too large for something on the way to Telegram");
    return { outcome: "unlisted", code: status, reason: SendReason.media, suspicion };
  }
  return { outcome: "refused", reason: SendReason.turnedAway };
}

function outcomeOfError(reply: { code: number; description: string; retryAfterSeconds?: number }): Outcome {
  const { code, description } = reply;
  if (isDoubt(code)) return { outcome: "unknown", reason: SendReason.serverError };
  if (code === 429) return rateLimited(reply.retryAfterSeconds ?? secondsIn(description));
  if (code === 401 || code === 404) return { outcome: "bot" };
  const meaning = meaningOf(description);
  return meaning === undefined ? unlistedOutcome(code, description) : outcomeOfMeaning(meaning, code, description);
}

function outcomeOfMeaning(meaning: Meaning, code: number, description: string): Outcome {
  switch (meaning.fault) {
    case "lead":
      return leadOutcome(meaning, description);
    case "body":
      return { outcome: "body", code, reason: meaning.reason, words: description };
    case "wait":
      if (meaning.whole) return rateLimited(meaning.seconds);
      return {
        outcome: "postponed",
        reason: SendReason.rateLimited,
        retryAfterMs: secondsWithin(meaning.seconds) * 1000,
      };
    case "moment":
      return { outcome: "refused", reason: SendReason.turnedAway };
    case "doubt":
      return { outcome: "unknown", reason: SendReason.serverError };
    default:
      return meaning satisfies never;
  }
}

function leadOutcome({ reason, leaves, watched }: Meaning & { fault: "lead" }, description: string): Outcome {
  if (watched === undefined) return { outcome: "lead", reason, leaves };
  return { outcome: "lead", reason, leaves, suspicion: { key: watched, words: description, limit: LISTED_LIMIT } };
}

/** A refusal in words that nobody has published. */
export function unlistedOutcome(code: number, description: string): Outcome {
  const reason = guessedReason(code, description);
  return { outcome: "unlisted", code, reason, suspicion: unlisted(code, description) };
}

function unlisted(code: number, description: string): Suspicion {
  const words = description === "" ? `an error ${code} without words` : description;
  return { key: normalisedWords(code, description), words, limit: UNLISTED_LIMIT };
}

/** The number in the words, which say the same as the parameter. */
function secondsIn(description: string): number | undefined {
  const found = /(?:retry after|wait_)\s*(\d+)/i.exec(description)?.[1];
  return found === undefined ? undefined : Number(found);
}

function rateLimited(seconds: number | undefined): Outcome {
  return { outcome: "rateLimited", retryAfterSeconds: secondsWithin(seconds) };
}

function secondsWithin(seconds = DEFAULT_RETRY_AFTER_SECONDS): number {
  return seconds > 0 ? Math.min(seconds, MAX_RETRY_AFTER_SECONDS) : DEFAULT_RETRY_AFTER_SECONDS;
}
