/**
 * The Bot API. Every call is made once, because a repeated send would be a second message. grammY makes the requests that
 * upload a file; all others are JSON, some thousands a second, and go straight to the connections.
 *
 * The URL of a call contains the bot's token: no error leaves this file, only replies.
 */
import { Api, GrammyError, HttpError, InputFile } from "grammy";
import { createConnections, type HttpAnswer, NotConnectedError, TimeoutError } from "./connections.ts";
import type { OutgoingMessage } from "./message.ts";
import type { BotApiReply } from "./outcome.ts";

/** Media to send along: a file that this bot has sent before, or its bytes. */
export type Attachment = { fileId: string } | { fileName: string; open: () => AsyncIterable<Uint8Array> };

/** What delivery needs of the Bot API. */
export interface BotApi {
  /** @param onWritten called when the request goes onto its connection, which may have to be opened before. */
  send(token: string, message: OutgoingMessage, attachment?: Attachment, onWritten?: () => void): Promise<BotApiReply>;
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
}

/** The updates that HandleUpdate reads. */
const WEBHOOK_UPDATES = ["message", "callback_query", "my_chat_member"] as const;

type Method = "sendMessage" | "sendPhoto" | "sendVideo" | "setWebhook" | "getMe";
type Payload<M extends Method> = Parameters<Api["raw"][M]>[0];

export function createBotApi(options: BotApiOptions): BotApi {
  const { apiRoot, timeoutMs = 10_000, uploadTimeoutMs = 60_000 } = options;
  const connections = createConnections(apiRoot);

  /** Never rejects. */
  function call<M extends Method>(
    token: string,
    method: M,
    payload: Payload<M>,
    onWritten?: () => void,
  ): Promise<BotApiReply> {
    const answer = connections.post(`/bot${token}/${method}`, JSON.stringify(payload), timeoutMs, onWritten);
    return answer.then((found) => replyOf(found, token), lostReply);
  }

  async function upload(
    token: string,
    message: OutgoingMessage,
    file: InputFile,
    onWritten?: () => void,
  ): Promise<BotApiReply> {
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), uploadTimeoutMs);
    // Our own deadline is the shorter one.
    const timeoutSeconds = uploadTimeoutMs / 1000 + 5;
    const { raw } = new Api(token, { apiRoot, timeoutSeconds, fetch: connections.fetch(onWritten) });
    try {
      const body = { ...captionOf(message), ...fileField(message, file) };
      const signal = deadline.signal as never; // grammY's types want its own polyfill of AbortSignal.
      const result = "photo" in body ? await raw.sendPhoto(body, signal) : await raw.sendVideo(body, signal);
      return okReply(result);
    } catch (error) {
      // grammY tells no HTTP status; Telegram's own answers have it in the code.
      if (error instanceof GrammyError) return errorReply(error, { status: error.error_code }, token);
      return lostReply(error instanceof HttpError ? error.error : error);
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    send: (token, message, attachment, onWritten) => {
      const { chatId: chat_id, text, entities, keyboard: reply_markup } = message;
      if (attachment === undefined)
        return call(token, "sendMessage", { chat_id, text, entities, reply_markup }, onWritten);
      if (!("fileId" in attachment))
        return upload(token, message, new InputFile(attachment.open(), attachment.fileName), onWritten);
      const body = { ...captionOf(message), ...fileField(message, attachment.fileId) };
      return "photo" in body ? call(token, "sendPhoto", body, onWritten) : call(token, "sendVideo", body, onWritten);
    },
    setWebhook: (token, url, secret_token) =>
      call(token, "setWebhook", { url, secret_token, allowed_updates: [...WEBHOOK_UPDATES] }),
    getMe: (token) => call(token, "getMe", {} as never),
  };
}

function captionOf({ chatId, text, entities, keyboard }: OutgoingMessage) {
  return { chat_id: chatId, caption: text, caption_entities: entities, reply_markup: keyboard };
}

function fileField<File>({ mediaType }: OutgoingMessage, file: File): { photo: File } | { video: File } {
  return mediaType === 1 ? { photo: file } : { video: file };
}

/** What the Bot API's JSON says; anything else was not the Bot API. */
function replyOf(http: HttpAnswer, token: string): BotApiReply {
  const head = { status: http.status, retryAfterHeaderSeconds: secondsOf(http.retryAfter) };
  const { ok, result, ...error } = jsonOf(http.text);
  if (ok === true && head.status === 200) return okReply(result);
  return ok === false ? errorReply(error, head, token) : { answer: "foreign", ...head };
}

type Json = { ok?: unknown; result?: unknown } & ApiError;

/** Without any field where it is no JSON, or none of an object. */
function jsonOf(text: string): Json {
  try {
    return (JSON.parse(text) ?? {}) as Json;
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
  message_id?: number;
  photo?: { file_id: string; width: number; height: number }[];
  video?: { file_id: string };
}

function okReply(result: unknown): BotApiReply {
  const message = (result ?? {}) as MessageResult;
  // Telegram lists a photo's sizes; the largest one's file_id sends them all.
  const fileId = message.photo?.at(-1)?.file_id ?? message.video?.file_id;
  const id = message.message_id;
  // What cannot be stored must not keep "it was accepted" from being stored.
  return { answer: "ok", messageId: typeof id === "number" && Number.isSafeInteger(id) ? id : 0, fileId };
}

interface ApiError {
  error_code?: unknown;
  description?: unknown;
  parameters?: { retry_after?: unknown };
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

function lostReply(error: unknown): BotApiReply {
  if (error instanceof NotConnectedError) return { answer: "refused" };
  if (error instanceof TimeoutError) return { answer: "lost", how: "timeout" };
  // A SyntaxError is grammY's: the answer to an upload was no JSON.
  return { answer: "lost", how: error instanceof SyntaxError ? "unreadable" : "cut" };
}
