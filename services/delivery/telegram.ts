/**
 * The Bot API. Every call is made once, because a repeated send would be a second message.
 *
 * The URL of a call contains the bot's token: no error leaves this file, only replies.
 */
import { type Connections, createConnections, type Exchange, type Post } from "./connections.ts";
import type { OutgoingMessage } from "./message.ts";
import { type FormFile, formOf } from "./multipart.ts";
import type { BotApiReply } from "./outcome.ts";

/** Media to send along: a file that this bot has sent before, or its bytes. */
export type Attachment = { fileId: string } | Omit<FormFile, "field">;

/** What a sender wants to decide and to know at the moment that a request goes onto its connection. */
export type Wire = Pick<Post, "mayWrite" | "onWritten">;

/** What delivery needs of the Bot API. No call rejects. */
export interface BotApi {
  send(token: string, message: OutgoingMessage, attachment?: Attachment, wire?: Wire): Promise<BotApiReply>;
  /** Points a bot's webhook somewhere; Telegram sends the secret back with every update. */
  setWebhook(token: string, url: string, secret: string): Promise<BotApiReply>;
  /** Whether the Bot API is well and knows the bot. */
  getMe(token: string): Promise<BotApiReply>;
}

export interface BotApiOptions {
  /** For example https://api.telegram.org. */
  apiRoot: string;
  /** After this long without an answer nobody knows. Defaults 10 s, and 60 s for uploads. */
  timeoutMs?: number;
  uploadTimeoutMs?: number;
  connections?: Connections;
}

/** The updates that HandleUpdate reads. */
const WEBHOOK_UPDATES = ["message", "callback_query", "my_chat_member"] as const;

type Method = "sendMessage" | "sendPhoto" | "sendVideo" | "setWebhook" | "getMe";
/** A call's parameters; what is undefined is left out. */
type Parameters = Record<string, unknown>;

/** A call without its address. */
type Body = Pick<Post, "contentType" | "length" | "start" | "rest" | "timeoutMs">;

export function createBotApi(options: BotApiOptions): BotApi {
  const { apiRoot, timeoutMs = 10_000, uploadTimeoutMs = 60_000 } = options;
  const connections = options.connections ?? createConnections(apiRoot);

  /** Whatever is thrown before the first byte is a mistake of ours, and proves that nothing was sent. */
  async function call(
    token: string,
    method: Method,
    body: () => Body | Promise<Body>,
    { mayWrite, onWritten }: Wire = {},
  ): Promise<BotApiReply> {
    let written = false;
    const noteWritten = () => {
      written = true;
      onWritten?.();
    };
    try {
      const path = `/bot${encodeURIComponent(token).replaceAll("%3A", ":")}/${method}`;
      return replyOf(await connections.post({ ...(await body()), path, mayWrite, onWritten: noteWritten }), token);
    } catch (error) {
      if (written) return { answer: "lost", how: "cut" };
      return { answer: "fault", message: withoutToken(error instanceof Error ? error.message : "Unknown.", token) };
    }
  }

  function callJson(token: string, method: Method, parameters: Parameters, wire?: Wire) {
    return call(token, method, () => jsonBody(parameters, timeoutMs), wire);
  }

  return {
    send: (token, message, attachment, wire) => {
      const { chatId: chat_id, text, entities, keyboard: reply_markup, mediaType } = message;
      if (attachment === undefined)
        return callJson(token, "sendMessage", { chat_id, text, entities, reply_markup }, wire);
      const [method, field] = mediaType === 1 ? (["sendPhoto", "photo"] as const) : (["sendVideo", "video"] as const);
      const captioned = { chat_id, caption: text, caption_entities: entities, reply_markup };
      if ("fileId" in attachment) return callJson(token, method, { ...captioned, [field]: attachment.fileId }, wire);
      return call(token, method, () => formBody(captioned, { ...attachment, field }, uploadTimeoutMs), wire);
    },
    setWebhook: (token, url, secret_token) =>
      callJson(token, "setWebhook", { url, secret_token, allowed_updates: WEBHOOK_UPDATES }),
    getMe: (token) => callJson(token, "getMe", {}),
  };
}

function jsonBody(parameters: Parameters, timeoutMs: number): Body {
  const start = JSON.stringify(parameters);
  return { contentType: "application/json", length: Buffer.byteLength(start), start, timeoutMs };
}

async function formBody(parameters: Parameters, file: FormFile, timeoutMs: number): Promise<Body> {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
  const fields = given.map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]);
  const startedAt = performance.now();
  const form = await formOf(Object.fromEntries(fields), file);
  const leftMs = timeoutMs - (performance.now() - startedAt);
  // What is left must do for the upload: nothing has been written, so the send can come again.
  if (leftMs < timeoutMs / 2) throw new Error("The media file could not be read in time.");
  return { ...form, timeoutMs: leftMs };
}

function replyOf(exchange: Exchange, token: string): BotApiReply {
  switch (exchange.end) {
    case "notWritten":
      return { answer: "refused" };
    case "lost":
      return { answer: "lost", how: exchange.how };
    case "answered":
      return answeredReply(exchange, token);
    default:
      return exchange satisfies never;
  }
}

/** What the Bot API's JSON says; anything else was not the Bot API. */
function answeredReply({ status, retryAfter, text }: Exchange & { end: "answered" }, token: string): BotApiReply {
  const head = { status, retryAfterHeaderSeconds: secondsOf(retryAfter) };
  const { ok, result, ...error } = jsonOf(text);
  if (ok === true && status === 200) return okReply(result);
  return ok === false ? errorReply(error, head, token) : { answer: "foreign", ...head };
}

type Json = { ok?: unknown; result?: unknown } & ApiError;

/** Without any field where it is no JSON, or none of an object. */
function jsonOf(text: string | undefined): Json {
  try {
    return (JSON.parse(text ?? "") ?? {}) as Json;
  } catch {
    return {};
  }
}

/** `retry-after` is a number of seconds or a date. */
function secondsOf(retryAfter: string | undefined): number | undefined {
  if (retryAfter === undefined) return undefined;
  if (/^\d{1,9}$/.test(retryAfter)) return Number(retryAfter);
  const at = Date.parse(retryAfter);
  return Number.isNaN(at) ? undefined : Math.max(0, Math.ceil((at - Date.now()) / 1000));
}

/** The parts of a Message that are kept. */
interface MessageResult {
  message_id?: unknown;
  photo?: unknown;
  video?: unknown;
}

function okReply(result: unknown): BotApiReply {
  const { message_id: id, photo, video } = (result ?? {}) as MessageResult;
  // Telegram lists a photo's sizes; the largest one's file_id sends them all.
  const fileId = fileIdOf(Array.isArray(photo) ? photo.at(-1) : video);
  // What cannot be stored must not keep "it was accepted" from being stored.
  return { answer: "ok", messageId: typeof id === "number" && Number.isSafeInteger(id) ? id : 0, fileId };
}

function fileIdOf(file: unknown): string | undefined {
  const id = (file as { file_id?: unknown } | null | undefined)?.file_id;
  return typeof id === "string" ? id : undefined;
}

interface ApiError {
  error_code?: unknown;
  description?: unknown;
  parameters?: { retry_after?: unknown } | null;
}

interface Head {
  status: number;
  retryAfterHeaderSeconds?: number;
}

function errorReply({ error_code: code, description, parameters }: ApiError, head: Head, token: string): BotApiReply {
  if (typeof code !== "number" || typeof description !== "string") return { answer: "foreign", ...head };
  const seconds = parameters?.retry_after;
  const retryAfterSeconds = typeof seconds === "number" ? seconds : undefined;
  return { answer: "error", ...head, code, description: withoutToken(description, token), retryAfterSeconds };
}

/** Descriptions are shown to customers, and a proxy that speaks the Bot API's language may quote the URL in one. */
function withoutToken(description: string, token: string): string {
  const secret = token.slice(token.indexOf(":") + 1);
  return secret === "" ? description : description.replaceAll(secret, "[redacted]");
}
