import { botUser, nextFileStamp } from "./bots.ts";
import { type Content, contentFromParameters } from "./content.ts";
import { fileIdFromFile } from "./file-id.ts";
import { afterOneMore } from "./limits.ts";
import { type Media, type MediaSource, mediaFields, mediaFromSource } from "./media.ts";
import type { Call, CallResult, Method } from "./methods.ts";
import { badRequest, blockedByUser, chatNotFound, type Refusal, tooManyRequests } from "./refusal.ts";
import { chatIdOf, isTrue, type Parameters, textOf } from "./request.ts";
import type { World } from "./world.ts";

export function sendMethod(name: "sendMessage" | "sendPhoto" | "sendVideo"): Method {
  const run = name === "sendMessage" ? sendText : (world: World, call: Call) => sendMedia(world, call);
  return { name, isSend: true, run };
}

function sendText(world: World, call: Call): CallResult {
  const content = contentFromParameters(call.parameters, false, world.settings);
  return "kind" in content ? content : accept(world, call, content, undefined);
}

async function sendMedia(world: World, call: Call): Promise<CallResult> {
  const content = contentFromParameters(call.parameters, true, world.settings);
  if ("kind" in content) return content;
  const kind = call.method === "sendPhoto" ? "photo" : "video";
  const media = await mediaFromSource(mediaSource(call.parameters, kind), {
    bot: call.bot.id,
    kind,
    expiredUpTo: call.bot.filesExpiredUpTo,
    madeAt: nextFileStamp(call.bot),
    check: world.settings.checkMedia,
  });
  return "kind" in media ? media : accept(world, call, content, media);
}

/** A file part of that name, the part that `attach://` names, or the text as it is. */
function mediaSource(parameters: Parameters, kind: string): MediaSource {
  const value = parameters[kind];
  if (value instanceof File) return value;
  const text = textOf(value);
  if (!text.startsWith("attach://")) return text;
  const part = parameters[text.slice("attach://".length)];
  return part instanceof File ? part : undefined;
}

/** Last comes what can refuse a message that is well-formed; from there on it is accepted, and recorded at once. */
function accept(world: World, call: Call, content: Content, media: Media | undefined): CallResult {
  const { bot, parameters } = call;
  if (textOf(parameters.chat_id) === "") return badRequest("chat_not_found", "chat_id is empty");
  const chat = chatIdOf(parameters.chat_id);
  if (chat === undefined) return chatNotFound;
  if (bot.blockedBy.has(chat)) return blockedByUser;
  const refusal = freeSecondRefusal(world, call) ?? chatPaceRefusal(world, call, chat);
  return refusal ?? { result: recordedMessage(world, call, chat, content, media) };
}

/** A paid bot's place at arrival was given at the paid limit, before its parameters could be read. */
function freeSecondRefusal(world: World, { bot, parameters, arrivedMs }: Call): Refusal | undefined {
  if (!bot.paid || isTrue(parameters.allow_paid_broadcast) || world.bots.admitFree(bot, arrivedMs)) return undefined;
  return tooManyRequests("limit_bot", world.settings.retryAfterSeconds);
}

function chatPaceRefusal(world: World, { bot, arrivedMs }: Call, chat: number): Refusal | undefined {
  const { chatPerSecond, chatBurst, retryAfterSeconds } = world.settings;
  if (chatPerSecond === 0) return undefined;
  const chats = world.record.chats(bot.id);
  const row = chats.row(chat, true);
  const next = afterOneMore(chats.wholeAgainAtMs(row), arrivedMs, chatPerSecond, chatBurst);
  if (next === undefined) return tooManyRequests("limit_chat", retryAfterSeconds);
  chats.setWholeAgainAtMs(row, next);
  return undefined;
}

function recordedMessage(world: World, call: Call, chat: number, content: Content, media: Media | undefined): object {
  const { bot, method, arrivedMs, parameters } = call;
  const wallMs = Date.now();
  const body = {
    text: content.text,
    entities: content.entities === undefined ? undefined : JSON.stringify(content.entities),
    parseMode: parameters.parse_mode === undefined ? undefined : textOf(parameters.parse_mode),
    replyMarkup: content.replyMarkup === undefined ? undefined : JSON.stringify(content.replyMarkup),
    fileId: media && fileIdFromFile(media.file),
  };
  const uploaded = media?.uploaded ?? false;
  const messageId = world.record.accepted({ bot: bot.id, chat, method, arrivedMs, wallMs, uploaded, body });
  const said = { text: content.text, entities: content.entities };
  return {
    message_id: messageId,
    from: botUser(bot),
    chat: chatObject(chat),
    date: Math.floor(wallMs / 1_000),
    ...(media
      ? { ...mediaFields(media.file), caption: said.text || undefined, caption_entities: said.entities }
      : said),
    reply_markup: content.replyMarkup,
  };
}

/** Ids below zero are groups. */
export function chatObject(chat: number): Record<string, unknown> {
  if (chat < 0) return { id: chat, type: "group", title: `Group ${-chat}` };
  return { id: chat, type: "private", first_name: `Person ${chat}` };
}
