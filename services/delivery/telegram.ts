/**
 * The Bot API, through grammY's Api. Every call is a POST and is made once, because a repeated send would be a second
 * message: Bun's fetch repeats a GET by itself when a kept-alive connection breaks, and follows redirects of a POST, with
 * the token in the URL, wherever they lead.
 *
 * The URL of a call contains the bot's token, and Bun puts it into its errors: no error leaves this file, only replies.
 */
import { Api, GrammyError, HttpError, InputFile } from "grammy";
import type { OutgoingMessage } from "./message.ts";
import type { BotApiReply } from "./outcome.ts";

/** Media to send along: a file that this bot has sent before, or its bytes. */
export type Attachment = { fileId: string } | { fileName: string; open: () => AsyncIterable<Uint8Array> };

/** What delivery needs of the Bot API. */
export interface BotApi {
  send(token: string, message: OutgoingMessage, attachment?: Attachment): Promise<BotApiReply>;
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

/** Bots whose client is kept: one is small, and made in microseconds. */
const MAX_CLIENTS = 10_000;

/** The updates that HandleUpdate reads. */
const WEBHOOK_UPDATES = ["message", "callback_query", "my_chat_member"] as const;

/** Answered with what is not the Bot API's JSON, a redirect is an unreadable reply. */
const NO_REDIRECTS = { redirect: "manual" } as const;

type Call = (signal: AbortSignal) => Promise<unknown>;

export function createBotApi(options: BotApiOptions): BotApi {
  const { apiRoot, timeoutMs = 10_000, uploadTimeoutMs = 60_000 } = options;
  const clients = new Map<string, Api>();

  function clientOf(token: string): Api {
    const known = clients.get(token);
    if (known) return known;
    if (clients.size >= MAX_CLIENTS) clients.clear();
    // Our own deadline is the shorter one, so that a timeout is told from a cut.
    const timeoutSeconds = uploadTimeoutMs / 1000 + 5;
    const client = new Api(token, { apiRoot, timeoutSeconds, baseFetchConfig: NO_REDIRECTS });
    clients.set(token, client);
    return client;
  }

  return {
    send: (token, message, attachment) => {
      const upload = attachment !== undefined && !("fileId" in attachment);
      return reply(sendCall(clientOf(token), message, attachment), upload ? uploadTimeoutMs : timeoutMs);
    },
    setWebhook: (token, url, secret_token) =>
      reply(
        (signal) =>
          clientOf(token).raw.setWebhook(
            { url, secret_token, allowed_updates: [...WEBHOOK_UPDATES] },
            abortable(signal),
          ),
        timeoutMs,
      ),
    getMe: (token) => reply((signal) => clientOf(token).raw.getMe(abortable(signal)), timeoutMs),
  };
}

/** grammY's types want its own polyfill of AbortSignal; Bun's is the real one. */
function abortable(signal: AbortSignal): never {
  return signal as never;
}

function sendCall(api: Api, message: OutgoingMessage, attachment: Attachment | undefined): Call {
  const { chatId: chat_id, text, entities, keyboard: reply_markup } = message;
  if (attachment === undefined) {
    return (signal) => api.raw.sendMessage({ chat_id, text, entities, reply_markup }, abortable(signal));
  }
  const caption = { chat_id, caption: text, caption_entities: entities, reply_markup };
  const file = "fileId" in attachment ? attachment.fileId : new InputFile(attachment.open(), attachment.fileName);
  if (message.mediaType === 1) return (signal) => api.raw.sendPhoto({ ...caption, photo: file }, abortable(signal));
  return (signal) => api.raw.sendVideo({ ...caption, video: file }, abortable(signal));
}

async function reply(call: Call, timeoutMs: number): Promise<BotApiReply> {
  const deadline = new AbortController();
  // Not AbortSignal.timeout, which keeps its timer when the call has long been answered.
  const timer = setTimeout(() => deadline.abort(), timeoutMs);
  try {
    return okReply(await call(deadline.signal));
  } catch (error) {
    if (error instanceof GrammyError || !deadline.signal.aborted) return errorReply(error);
    return { answer: "lost", how: "timeout" };
  } finally {
    clearTimeout(timer);
  }
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

function errorReply(error: unknown): BotApiReply {
  if (error instanceof GrammyError) {
    const { error_code: code, description, parameters } = error;
    if (typeof code !== "number" || typeof description !== "string") return { answer: "lost", how: "unreadable" };
    const seconds = parameters.retry_after;
    return { answer: "error", code, description, retryAfterSeconds: typeof seconds === "number" ? seconds : undefined };
  }
  const cause = error instanceof HttpError ? error.error : error;
  const code = String((cause as { code?: unknown })?.code ?? "");
  if (NOT_CONNECTED.has(code)) return { answer: "refused" };
  if (cause instanceof SyntaxError) return { answer: "lost", how: "unreadable" };
  return { answer: "lost", how: "cut" };
}

/**
 * Codes that Bun gives only where no connection stood, so that nothing can have been written. EHOSTUNREACH and ENETUNREACH
 * are not among them: a connection that stands can end with these too.
 */
const NOT_CONNECTED = new Set([
  "ECONNREFUSED",
  "ConnectionRefused",
  "FailedToOpenSocket",
  "ENOTFOUND",
  "DNSException",
  "EAI_AGAIN",
]);
