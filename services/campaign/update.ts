/** Reads Telegram's updates. Anyone can make a bot receive nearly anything: nothing here is believed to be complete. */
import { isUnsubscribeData, parseUnsubscribeData } from "#services/core/message/render.ts";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";

/** What an update means for leads. */
export type UpdateEvent =
  /** The unsubscribe button of one of our messages was tapped. */
  | { kind: "unsubscribe"; callbackId: string; campaignId: number; chatId: number }
  /** One of ours that says nothing we can read: of which campaign, or of whose chat. */
  | { kind: "deadButton"; callbackId: string }
  /** Some other button: it spins until it is answered. */
  | { kind: "otherButton"; callbackId: string }
  /** A private chat has blocked the bot, or is known to be reachable. */
  | ({ kind: "reachability"; chatId: number; reachable: boolean } & UpdateMoment)
  /** Nothing that concerns us. */
  | { kind: "none" };

/** When an update says that it happened. */
export interface UpdateMoment {
  /** Unix seconds; null where the update does not say. */
  atSeconds: number | null;
  /** Orders updates of one second; 0 where the update has none. */
  updateId: number;
}

/** What the person reads who has unsubscribed. */
export const UNSUBSCRIBED_TEXT = "You will get no more messages.";
/** Where the tap could not be taken for any campaign: blocking is what always ends messages. */
export const DEAD_BUTTON_TEXT = "This button is not known any more. To get no more messages, block this bot.";

/**
 * Reads one update as Telegram sent it.
 *
 * Throws DomainError INVALID_ARGUMENT for what is not a JSON object. The message holds nothing of the update, which is
 * people's data.
 */
export function readUpdate(json: string): UpdateEvent {
  const update = parsed(json);
  const callback = objectAt(update, "callback_query");
  if (callback !== undefined) return readCallback(callback);
  const member = objectAt(update, "my_chat_member");
  if (member !== undefined) return readMember(member, momentOf(update, member));
  // Whoever writes to the bot has not blocked it.
  const message = objectAt(update, "message");
  const chatId = privateChatOf(message);
  if (chatId === undefined) return { kind: "none" };
  return { kind: "reachability", chatId, reachable: true, ...momentOf(update, message) };
}

function parsed(json: string): object {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw notAnUpdate();
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw notAnUpdate();
  return value;
}

function notAnUpdate(): DomainError {
  return new DomainError(
    ErrorReason.INVALID_ARGUMENT,
    "The update is not a JSON object: pass it on as Telegram sent it.",
    { field: "update_json" },
  );
}

function readCallback(callback: object): UpdateEvent {
  const callbackId = valueAt(callback, "id");
  if (typeof callbackId !== "string" || callbackId === "") return { kind: "none" };
  const data = valueAt(callback, "data");
  if (typeof data !== "string" || !isUnsubscribeData(data)) return { kind: "otherButton", callbackId };
  const campaignId = parseUnsubscribeData(data);
  // The message can be missing when it is old; in a private chat the person's id is the chat's.
  const chatId = idAt(objectAt(objectAt(callback, "message"), "chat")) ?? idAt(objectAt(callback, "from"));
  if (campaignId === undefined || chatId === undefined) return { kind: "deadButton", callbackId };
  return { kind: "unsubscribe", callbackId, campaignId, chatId };
}

/** In a private chat the bot is a member, or kicked: that is how Telegram puts "blocked". */
function readMember(change: object, moment: UpdateMoment): UpdateEvent {
  const chatId = privateChatOf(change);
  const status = valueAt(objectAt(change, "new_chat_member"), "status");
  if (chatId === undefined || (status !== "kicked" && status !== "member")) return { kind: "none" };
  return { kind: "reachability", chatId, reachable: status === "member", ...moment };
}

/** The end of the year 9999: later dates count as now all the same, and would not fit a bigint of microseconds. */
const LAST_SECOND = 253_402_300_799;

function momentOf(update: object, event: object | undefined): UpdateMoment {
  const [date, updateId] = [valueAt(event, "date"), valueAt(update, "update_id")];
  return {
    atSeconds: isCount(date) ? Math.min(date, LAST_SECOND) : null,
    updateId: isCount(updateId) && Number.isSafeInteger(updateId) ? updateId : 0,
  };
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0;
}

function privateChatOf(holder: object | undefined): number | undefined {
  const chat = objectAt(holder, "chat");
  return valueAt(chat, "type") === "private" ? idAt(chat) : undefined;
}

function idAt(holder: object | undefined): number | undefined {
  const id = valueAt(holder, "id");
  return typeof id === "number" && Number.isSafeInteger(id) && id !== 0 ? id : undefined;
}

function objectAt(holder: object | undefined, name: string): object | undefined {
  const value = valueAt(holder, name);
  return typeof value === "object" && value !== null ? value : undefined;
}

/** Own properties only: an update may have any names. */
function valueAt(holder: object | undefined, name: string): unknown {
  if (holder === undefined || !Object.hasOwn(holder, name)) return undefined;
  return (holder as Record<string, unknown>)[name];
}

/**
 * The Bot API call that answers a button, for the reply to the webhook request.
 * @param text shown to the person until they close it; without one the button just stops spinning.
 */
export function callbackAnswer(callbackId: string, text?: string): string {
  return JSON.stringify({
    method: "answerCallbackQuery",
    callback_query_id: callbackId,
    ...(text !== undefined && { text, show_alert: true }),
  });
}
