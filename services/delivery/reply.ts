/**
 * What an HTTP answer says, before anybody asks what it means for a send. Only two things are Telegram speaking: JSON with
 * `ok: true` and what was asked for, and JSON with `ok: false`. Everything else was said by something on the way, or by a
 * server that is none of Telegram's, and proves no more than its HTTP status does.
 *
 * | HTTP status | `ok: true` with a result | `ok: false` | anything else |
 * | --- | --- | --- | --- |
 * | 2xx | accepted | refused, if `error_code` is a 4xx; otherwise nobody knows | nobody knows |
 * | 408, 499, 3xx, 5xx | nobody knows | nobody knows | nobody knows |
 * | other 4xx | a contradiction: nobody knows | refused | turned away: not accepted, and no more |
 *
 * The status comes first: an `error_code` that differs from it counts only where it asks for a pause (429), or puts in
 * doubt (5xx, 408, 499) what the status would prove.
 */
import type { Exchange } from "./connections.ts";
import type { BotApiReply } from "./outcome.ts";

type HttpAnswer = Omit<Exchange & { end: "answered" }, "end">;

/** What was asked for: a message, a message with a file, or something that makes no message. */
export type Asked = "send" | "upload" | "other";

/** Statuses of a server or proxy that stopped waiting: what it had passed on may still be accepted. */
const GAVE_UP = new Set([408, 499]);
const LONGEST_WORDS = 300;

/** @param token is kept out of what the answer quotes. */
export function answeredReply(answer: HttpAnswer, token: string, asked: Asked, nowMs = Date.now()): BotApiReply {
  const json = parsed(answer.text);
  const { status } = answer;
  if (json?.ok === true) return acceptedReply(json.result, status, asked);
  if (json?.ok === false) return refusedReply(json, answer, token, nowMs);
  return foreignReply(answer, asked, nowMs);
}

interface BotApiJson {
  ok?: unknown;
  result?: unknown;
  error_code?: unknown;
  description?: unknown;
  parameters?: { retry_after?: unknown } | null;
}

/** Undefined for what is no JSON object, and for an answer that could not be read whole. */
function parsed(text: string | undefined): BotApiJson | undefined {
  try {
    const json: unknown = JSON.parse(text ?? "");
    return typeof json === "object" && json !== null ? json : undefined;
  } catch {
    return undefined;
  }
}

/** The parts of a Message that are kept. */
interface MessageResult {
  message_id?: number;
  photo?: { file_id: string; width: number; height: number }[];
  video?: { file_id: string };
}

function acceptedReply(result: unknown, status: number, asked: Asked): BotApiReply {
  if (status < 200 || status >= 300) return { answer: "lost", how: "unreadable" };
  if (asked === "other") return { answer: "ok", messageId: 0 };
  // An acceptance names the message. A server that says "ok" to everything must not count as having sent it.
  if (typeof result !== "object" || result === null) return { answer: "lost", how: "unreadable" };
  const message = result as MessageResult;
  // Telegram lists a photo's sizes; the largest one's file_id sends them all.
  const fileId = [message.photo].flat().at(-1)?.file_id ?? message.video?.file_id;
  const id = message.message_id;
  // What cannot be stored must not keep "it was accepted" from being stored.
  const messageId = typeof id === "number" && Number.isSafeInteger(id) ? id : 0;
  return { answer: "ok", messageId, fileId: typeof fileId === "string" ? fileId : undefined };
}

function refusedReply(json: BotApiJson, { status, retryAfter }: HttpAnswer, token: string, nowMs: number): BotApiReply {
  const code = codeOf(status, json.error_code);
  if (code === undefined) return { answer: "lost", how: "unreadable" };
  const description = typeof json.description === "string" ? json.description : "";
  const words = withoutToken(description, token).slice(0, LONGEST_WORDS);
  const told = numberOf(json.parameters?.retry_after);
  const retryAfterSeconds = told ?? (code === 429 ? secondsOf(retryAfter, nowMs) : undefined);
  return { answer: "error", status, code, description: words, retryAfterSeconds };
}

/** What a refusal's two numbers say together; undefined where neither says that it is one. */
function codeOf(status: number, errorCode: unknown): number | undefined {
  const code = Number.isInteger(errorCode) ? Number(errorCode) : 0;
  const isSuccess = status >= 200 && status < 300;
  if (isSuccess) return code >= 400 && code < 600 ? code : undefined;
  if (isDoubt(status)) return status;
  if (code === 429 || GAVE_UP.has(code) || (code >= 500 && code < 600)) return code;
  return status;
}

/** Not a 4xx, or one of something that stopped waiting: nobody knows what became of the request. */
export function isDoubt(status: number): boolean {
  return status < 400 || status >= 500 || GAVE_UP.has(status);
}

function foreignReply({ status, retryAfter }: HttpAnswer, asked: Asked, nowMs: number): BotApiReply {
  if (status >= 200 && status < 300) return { answer: "lost", how: "unreadable" };
  const retryAfterSeconds = status === 429 ? secondsOf(retryAfter, nowMs) : undefined;
  return { answer: "foreign", status, upload: asked === "upload", retryAfterSeconds };
}

/** Seconds, or a date of HTTP's. */
function secondsOf(retryAfter: string | undefined, nowMs: number): number | undefined {
  if (retryAfter === undefined) return undefined;
  if (/^\s*\d+(\.\d+)?\s*$/.test(retryAfter)) return Number(retryAfter);
  const dateMs = Date.parse(retryAfter);
  return Number.isNaN(dateMs) ? undefined : Math.max(0, Math.ceil((dateMs - nowMs) / 1000));
}

function numberOf(value: unknown): number | undefined {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : undefined;
}

/** Descriptions are shown to customers, and a proxy that speaks the Bot API's language may quote the URL in one. */
export function withoutToken(description: string, token: string): string {
  const secret = token.slice(token.indexOf(":") + 1);
  return secret === "" ? description : description.replaceAll(secret, "[redacted]");
}
