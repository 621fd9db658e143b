import type { RecordedMessage } from "./messages.ts";
import type { Rule, RuleState } from "./script.ts";
import type { Settings } from "./settings.ts";

export interface BotReport {
  bot: number;
  /** Sends and other calls that arrived, refused ones included. */
  calls: number;
  accepted: number;
  distinctChats: number;
  /** The most messages that one chat got. */
  mostPerChat: number;
  /** Files that came as bytes, not as a file_id. */
  uploads: number;
  /** The largest number within any 1,000 ms: of sends that arrived, and of those that were accepted. */
  busiestSecond: { arrived: number; accepted: number };
  /** Refused calls, by kind. */
  refused: Record<string, number>;
  /** Sends made while a `retry_after` of that bot still ran. */
  insideRetryAfter: number;
}

export interface Totals {
  accepted: number;
  refused: number;
  uploads: number;
  /** Pairs of bot and chat that got at least one message. */
  distinctChats: number;
  mostPerChat: number;
  refusedByKind: Record<string, number>;
}

export interface RefusedCall {
  bot: number;
  chat?: number;
  method: string;
  kind: string;
  status: number;
  description: string;
  arrived_ms: number;
}

export interface CallbackAnswer {
  bot: number;
  callback_query_id: string;
  text?: string;
  show_alert?: boolean;
  /** How it came: as a call of its own, or as the HTTP reply to the update. */
  via: "call" | "webhook";
}

export interface ChatCount {
  bot: number;
  chat: number;
  count: number;
}

/** Messages that say the same to the same chat. */
export interface Duplicate extends ChatCount {
  messageIds: number[];
  text?: string;
}

/** What became of an update. */
export interface Delivery {
  /** False when no webhook is set, it does not want this kind of update, or it could not be reached: see `reason`. */
  delivered: boolean;
  reason?: string;
  status?: number;
  body?: string;
  /** The Bot API method that the reply asked for, and the answer that it got. */
  executed?: { method: string; status: number; description?: string };
}

export interface MessageQuery {
  bot?: number;
  chat?: number;
  /** Skips this many matches. */
  offset?: number;
  /** Default 1,000, at most 100,000. */
  limit?: number;
  /** The newest first, instead of the oldest. */
  newest?: boolean;
}

/**
 * What can be done to and asked of a sandbox: in process, or over HTTP by `createSandboxClient`. Arguments that make no
 * sense are refused with DomainError INVALID_ARGUMENT.
 */
export interface SandboxControl {
  settings(): Promise<Settings>;
  /** Changes the settings that are given. Windows and counts go on, but for those of a limit that changes. */
  configure(change: Partial<Settings>): Promise<Settings>;

  /** Makes a token known (needed with `strictBots`, or after `revokeToken`), and sets the bot's name and kind. */
  putBot(token: string, options?: { username?: string; paid?: boolean }): Promise<{ bot: number }>;
  /** Every further call with that token is answered 401. */
  revokeToken(token: string): Promise<void>;
  /** Makes every file_id that this bot has got so far invalid. */
  expireFiles(bot: number): Promise<void>;

  /** Adds a rule of the script and returns its id. */
  script(rule: Rule): Promise<number>;
  /** Takes back one rule, or all; returns how many there were. */
  unscript(id?: number): Promise<number>;
  rules(): Promise<RuleState[]>;
  /**
   * `false` stops listening: connections are refused, open ones and their calls are cut. `true` listens again on the same
   * port. Over HTTP this goes through the control address, which keeps listening.
   */
  listen(on: boolean): Promise<void>;

  /** The person blocks the bot: sends are answered 403, and a `my_chat_member` update is sent. */
  block(bot: number, chat: number): Promise<Delivery>;
  unblock(bot: number, chat: number): Promise<Delivery>;
  /** The person taps a button: a `callback_query` for that message, or for the last one of the chat. */
  tap(bot: number, chat: number, data: string, messageId?: number): Promise<Delivery>;
  /** Sends any other update; `update_id` is added. */
  deliver(bot: number, update: Record<string, unknown>): Promise<Delivery>;

  totals(): Promise<Totals>;
  /** All zero for a bot that never called. */
  bot(bot: number): Promise<BotReport>;
  bots(): Promise<BotReport[]>;
  messages(query?: MessageQuery): Promise<RecordedMessage[]>;
  /** Chats that got more than `count` messages, whatever these said. Exact, however many there were. */
  chatsOver(count: number, bot?: number): Promise<ChatCount[]>;
  /** Messages with the same text, entities and keyboard to the same chat. Exact, however many there were. */
  duplicates(bot?: number): Promise<Duplicate[]>;
  /** The newest 10,000 refused calls, oldest first. Their counts are in the reports, and exact. */
  refusals(bot?: number): Promise<RefusedCall[]>;
  /** The newest 10,000 answers to taps, oldest first. */
  callbackAnswers(bot?: number): Promise<CallbackAnswer[]>;
  /** Every accepted message as JSON lines. */
  exportLines(): Promise<ReadableStream<Uint8Array>>;
  /** Empties the record. Bots, webhooks, settings, script, blocks and message ids stay. */
  clear(): Promise<void>;
}

/** The calls that travel as one JSON request, and their parameters by name ("?" marks one that may be left out). `exportLines` is a stream, with a path of its own. */
export const controlParameters = {
  settings: [],
  configure: ["change"],
  putBot: ["token", "options?"],
  revokeToken: ["token"],
  expireFiles: ["bot"],
  script: ["rule"],
  unscript: ["id?"],
  rules: [],
  listen: ["on"],
  block: ["bot", "chat"],
  unblock: ["bot", "chat"],
  tap: ["bot", "chat", "data", "messageId?"],
  deliver: ["bot", "update"],
  totals: [],
  bot: ["bot"],
  bots: [],
  messages: ["query?"],
  chatsOver: ["count", "bot?"],
  duplicates: ["bot?"],
  refusals: ["bot?"],
  callbackAnswers: ["bot?"],
  clear: [],
} as const satisfies Record<Exclude<keyof SandboxControl, "exportLines">, readonly string[]>;

export type ControlCall = keyof typeof controlParameters;

export const controlPrefix = "/_sandbox/";
