/** From a claimed send to what goes to the Bot API. */
import type { ClaimedSend } from "#services/core/ledger/claim.ts";
import type { MediaType } from "#services/core/message/limits.ts";
import { isBlank, type MacroValues } from "#services/core/message/macros.ts";
import type { ParsedText } from "#services/core/message/markdown.ts";
import { type InlineKeyboard, renderMessage, unsubscribeData } from "#services/core/message/render.ts";

/** One message, ready for the Bot API. */
export interface OutgoingMessage {
  chatId: number;
  text: string;
  entities: ParsedText["entities"];
  keyboard: InlineKeyboard | undefined;
  /** A media ref, or empty. */
  media: string;
  mediaType: MediaType;
}

const STATUS_NAMES = ["wait", "hold", "approve", "cancel", "trash"];

/** Values of the macros. {status} is the status' name; {time} is the moment of sending in unix seconds. */
export function macroValues(send: ClaimedSend, nowMs: number): MacroValues {
  return {
    click: send.click,
    status: STATUS_NAMES[send.status] ?? "",
    campaign: send.campaignCode,
    user: send.userName,
    lead: String(send.leadId),
    subscriber: send.subscriber,
    username: send.username,
    chat: String(send.chatId),
    time: String(Math.floor(nowMs / 1000)),
  };
}

/** Undefined where nothing would be left to send: no media, and a text that is blank with this lead's values. */
export function composeMessage(send: ClaimedSend, nowMs: number): OutgoingMessage | undefined {
  const { body } = send;
  const mediaType = body.mediaType as MediaType;
  const { text, entities, keyboard } = renderMessage({
    parsed: body.parsed as ParsedText,
    button: body.button,
    link: body.link,
    mediaType,
    values: macroValues(send, nowMs),
    unsubscribe: { callbackData: unsubscribeData(send.campaignId) },
  });
  if (body.media === "" && isBlank(text)) return undefined;
  return { chatId: send.chatId, text, entities, keyboard, media: body.media, mediaType };
}
