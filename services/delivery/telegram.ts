/**
 * The Bot API. Every call is made once, because a repeated send would be a second message.
 *
 * The URL of a call contains the bot's token: no error leaves this file, only replies.
 */
import { type Connections, createConnections, type Exchange, type Post } from "./connections.ts";
import type { OutgoingMessage } from "./message.ts";
import { type FormFile, formOf } from "./multipart.ts";
import type { BotApiReply } from "./outcome.ts";
import { type Asked, answeredReply, withoutToken } from "./reply.ts";

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
    asked: Asked,
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
      const exchange = await connections.post({ ...(await body()), path, mayWrite, onWritten: noteWritten });
      return replyOf(exchange, token, asked);
    } catch (error) {
      if (written) return { answer: "lost", how: "cut" };
      return { answer: "fault", message: withoutToken(error instanceof Error ? error.message : "Unknown.", token) };
    }
  }

  function callJson(token: string, method: Method, parameters: Parameters, wire?: Wire) {
    const asked = method.startsWith("send") ? "send" : "other";
    return call(token, method, asked, () => jsonBody(parameters, timeoutMs), wire);
  }

  return {
    send: (token, message, attachment, wire) => {
      const { chatId: chat_id, text, entities, keyboard: reply_markup, mediaType } = message;
      if (attachment === undefined)
        return callJson(token, "sendMessage", { chat_id, text, entities, reply_markup }, wire);
      const [method, field] = mediaType === 1 ? (["sendPhoto", "photo"] as const) : (["sendVideo", "video"] as const);
      const captioned = { chat_id, caption: text, caption_entities: entities, reply_markup };
      if ("fileId" in attachment) return callJson(token, method, { ...captioned, [field]: attachment.fileId }, wire);
      return call(token, method, "upload", () => formBody(captioned, { ...attachment, field }, uploadTimeoutMs), wire);
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

function replyOf(exchange: Exchange, token: string, asked: Asked): BotApiReply {
  switch (exchange.end) {
    case "notWritten":
      return { answer: "refused" };
    case "lost":
      return { answer: "lost", how: exchange.how };
    case "answered":
      return answeredReply(exchange, token, asked);
    default:
      return exchange satisfies never;
  }
}
