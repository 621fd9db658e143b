import { BUTTON_LIMIT, type MediaType, textLimit } from "./limits.ts";
import { webHost } from "./link.ts";
import { fillLine, fillLink, fillText, type MacroValues } from "./macros.ts";
import type { ParsedText, TextEntity } from "./markdown.ts";
import { cutText, isBlank } from "./plain-text.ts";

/** The caption of the last row of every message to a lead; nobody can configure it away. */
export const UNSUBSCRIBE_CAPTION = "🚫 Unsubscribe";

/** What `callback_data` starts with when the unsubscribe button was tapped. */
const UNSUBSCRIBE_PREFIX = "unsub:";

export interface UrlButton {
  text: string;
  url: string;
}

export interface CallbackButton {
  text: string;
  callback_data: string;
}

/** A Bot API InlineKeyboardMarkup: rows of buttons. */
export interface InlineKeyboard {
  inline_keyboard: (UrlButton | CallbackButton)[][];
}

export interface RenderInput {
  /** The body's text as `checkBody` gave it. */
  parsed: ParsedText;
  /** Caption and link of the body's button; both empty for none. */
  button: string;
  link: string;
  /** Decides how long the text may be. */
  mediaType: MediaType;
  values: MacroValues;
  /** Left out for previews only. `callbackData` is 1–64 bytes, as `unsubscribeData` gives it. */
  unsubscribe?: { callbackData: string };
}

/** What goes to the Bot API: `text` and `entities` (or caption and caption entities), and the keyboard if there is one. */
export interface RenderedMessage {
  text: string;
  entities: TextEntity[];
  keyboard: InlineKeyboard | undefined;
}

/**
 * The message for one lead, within Telegram's limits whatever the values are. The text may come out blank (see
 * `isBlank`): without media the caller must then record a failure instead of sending.
 */
export function renderMessage(input: RenderInput): RenderedMessage {
  const { text, entities } = fillText(input.parsed, input.values, textLimit(input.mediaType));
  const rows: InlineKeyboard["inline_keyboard"] = [];
  if (input.link !== "") rows.push([linkButton(input.button, input.link, input.values)]);
  if (input.unsubscribe) rows.push([{ text: UNSUBSCRIBE_CAPTION, callback_data: input.unsubscribe.callbackData }]);
  return { text, entities, keyboard: rows.length > 0 ? { inline_keyboard: rows } : undefined };
}

/** The `callback_data` that ends all messages of a campaign to the chat it is tapped in. At most 22 bytes. */
export function unsubscribeData(campaignId: number | bigint): string {
  return `${UNSUBSCRIBE_PREFIX}${campaignId}`;
}

/** Whether a button with this data was one of ours, readable or not. */
export function isUnsubscribeData(data: string): boolean {
  return data.startsWith(UNSUBSCRIBE_PREFIX);
}

/** The campaign's id, or undefined for data that is not ours. Anyone can send any data: the caller looks the lead up. */
export function parseUnsubscribeData(data: string): number | undefined {
  const digits = isUnsubscribeData(data) ? data.slice(UNSUBSCRIBE_PREFIX.length) : "";
  const id = /^[1-9]\d{0,15}$/.test(digits) ? Number(digits) : Number.NaN;
  return Number.isSafeInteger(id) ? id : undefined;
}

function linkButton(button: string, link: string, values: MacroValues): UrlButton {
  const url = fillLink(link, values);
  const caption = cutText(fillLine(button, values), BUTTON_LIMIT);
  // A caption made of macros can come out empty, and Telegram refuses a button without one.
  return { text: isBlank(caption) ? cutText(webHost(url) ?? "Open", BUTTON_LIMIT) : caption, url };
}
