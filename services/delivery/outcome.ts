/**
 * What a reply of the Bot API means for a send. This is the only place where errors are told apart; facts from the Bot API
 * reference and the Bots FAQ. Five classes of fault:
 *
 * - of the lead: refused for good because of this chat;
 * - of the body: every lead may meet it, so it may only fail a lead once another has had the same body;
 * - of the bot: its token is dead;
 * - of the moment: proof that it was not accepted, and it may be tried again;
 * - unknown: the request was written and nobody can say what became of it.
 */
import { SendReason } from "#services/ledger/send.ts";

/**
 * What came back for one request: an HTTP answer (`ok`, `error`, `foreign`), proof that nothing was written (`refused`,
 * `fault`), or neither (`lost`).
 */
export type BotApiReply =
  | { answer: "ok"; messageId: number; fileId?: string }
  | TelegramError
  /** An HTTP answer whose body is no JSON with `ok`, cannot be read whole, or contradicts its status. */
  | { answer: "foreign"; status: number; retryAfterHeaderSeconds?: number }
  /** Nothing was written: no connection stood, whether by address, network or certificate. */
  | { answer: "refused" }
  /** Nothing was written: a mistake of ours came before the first byte. Names neither URL nor token. */
  | { answer: "fault"; message: string }
  /** Written, and the answer never came, or not whole. */
  | { answer: "lost"; how: "timeout" | "cut" | "unreadable" };

/** JSON with `ok: false`: only this is Telegram speaking. */
export interface TelegramError {
  answer: "error";
  /** Of HTTP. Telegram's own answers have it in `code`, too. */
  status: number;
  code: number;
  description: string;
  /** The JSON's `parameters.retry_after`. */
  retryAfterSeconds?: number;
  /** The header `retry-after`, in seconds from now where it was a date. */
  retryAfterHeaderSeconds?: number;
}

export type Outcome =
  | { outcome: "sent"; messageId: number; fileId?: string }
  | { outcome: "lead"; reason: SendReason; leaves: boolean }
  | { outcome: "body"; reason: SendReason }
  | { outcome: "bot" }
  | { outcome: "rateLimited"; retryAfterSeconds: number }
  | { outcome: "refused" }
  | { outcome: "unknown"; reason: SendReason }
  /** No request was written: its time has not come yet, or our right to write it has ended. */
  | { outcome: "postponed"; reason: SendReason; retryAfterMs?: number };

/** A 429 without a number: what Telegram gives at least. */
const DEFAULT_RETRY_AFTER_SECONDS = 1;

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
    case "fault":
      return { outcome: "refused" };
    case "foreign":
      return { outcome: "unknown", reason: SendReason.unreadableReply };
    case "lost":
      return { outcome: "unknown", reason: LOST_REASONS[reply.how] };
    case "error":
      return outcomeOfError(reply);
    default:
      return reply satisfies never;
  }
}

function outcomeOfError(reply: { code: number; description: string; retryAfterSeconds?: number }): Outcome {
  const { code, description } = reply;
  if (code === 429) {
    return { outcome: "rateLimited", retryAfterSeconds: retryAfterOf(reply) };
  }
  // An error that is none (a redirect, a code of some proxy's own) proves as little as a 5xx.
  if (code < 400 || code >= 500) return { outcome: "unknown", reason: SendReason.serverError };
  if (code === 401 || code === 404) return { outcome: "bot" };
  if (code === 403) return outcomeOfForbidden(description.toLowerCase());
  if (code === 413) return { outcome: "body", reason: SendReason.media };
  return outcomeOfBadRequest(description.toLowerCase());
}

/** The parameter, or the number in the words, which say the same. */
function retryAfterOf(reply: { description: string; retryAfterSeconds?: number }): number {
  const seconds = reply.retryAfterSeconds ?? Number(/retry after (\d+)/i.exec(reply.description)?.[1]);
  return seconds > 0 ? seconds : DEFAULT_RETRY_AFTER_SECONDS;
}

/** A 403 is always the chat's. Only what the person did, or will never undo, takes the chat out of audiences. */
function outcomeOfForbidden(description: string): Outcome {
  if (description.includes("blocked by the user")) return leadFault(SendReason.blocked, true);
  if (description.includes("user is deactivated")) return leadFault(SendReason.deactivated, true);
  if (description.includes("can't initiate conversation")) return leadFault(SendReason.cannotInitiate, true);
  // Telegram says this of people who have done nothing: failed this time, and still in audiences.
  if (description.includes("can't send messages")) return leadFault(SendReason.cannotSend, false);
  return leadFault(SendReason.refused, false);
}

const MEDIA_FAULTS = [
  "wrong file identifier",
  "failed to get http url content",
  "wrong type of the web page content",
  "photo_invalid_dimensions",
  "image_process_failed",
  "file is too big",
  "wrong remote file identifier",
];

function outcomeOfBadRequest(description: string): Outcome {
  if (description.includes("chat not found") || description.includes("peer_id_invalid")) {
    return leadFault(SendReason.chatNotFound, true);
  }
  // Groups that became supergroups: a lead is a person, so its chat id was wrong.
  if (description.includes("upgraded to a supergroup")) return leadFault(SendReason.refused, false);
  const media = MEDIA_FAULTS.some((fault) => description.includes(fault));
  // A refusal that we do not know is taken for the body's: it fails this lead if others get the same body, and stops the
  // broadcast instead of failing everybody if nobody does.
  return { outcome: "body", reason: media ? SendReason.media : SendReason.body };
}

function leadFault(reason: SendReason, leaves: boolean): Outcome {
  return { outcome: "lead", reason, leaves };
}
