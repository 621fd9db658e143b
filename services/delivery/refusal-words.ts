/**
 * The words with which the Bot API refuses a message, by whose fault they tell. Its own words come from its reference and
 * the Bots FAQ; names in capitals are what Telegram's servers say of sendMessage and sendMedia, which a Bot API server passes
 * on as they are. A name counts like its sentence, and both under any HTTP status that proves a refusal.
 *
 * What stands here is believed of one lead or one body, however often it comes. What does not stand here may be anybody's
 * fault: a guess by the name's first word says what to call it, and fault-streak.ts watches whether it comes for one lead
 * after another. Words about the bot itself are left out on purpose ("Logged out", FROZEN_METHOD_INVALID, PEER_FLOOD,
 * USER_BANNED_IN_CHANNEL, USER_RESTRICTED, BOT_INVALID): they are the bot's fault, and so they must be watched.
 */
import { SendReason } from "#services/core/ledger/send.ts";

/** What is known of some words. */
export type Meaning =
  | { fault: "lead"; reason: SendReason; leaves: boolean; watched?: string }
  | { fault: "body"; reason: SendReason }
  /** It passes by itself: after so many seconds, or when something at Telegram's is well again. */
  | { fault: "wait"; seconds: number; whole: boolean }
  | { fault: "moment" }
  /** Says that the same message came twice: then one may have been accepted. */
  | { fault: "doubt" };

const lead = (reason: SendReason, leaves = false): Meaning => ({ fault: "lead", reason, leaves });

const BLOCKED = lead(SendReason.blocked, true);
const DEACTIVATED = lead(SendReason.deactivated, true);
const CANNOT_INITIATE = lead(SendReason.cannotInitiate, true);
const CANNOT_SEND = lead(SendReason.cannotSend);
const NO_PRIVATE_CHAT = lead(SendReason.refused);
/** A bot that was given another bot's leads says this of all of them, so a long row of it is not believed. */
const CHAT_NOT_FOUND: Meaning = { ...lead(SendReason.chatNotFound, true), watched: "chat not found" } as Meaning;
const BODY: Meaning = { fault: "body", reason: SendReason.body };
const MEDIA: Meaning = { fault: "body", reason: SendReason.media };
const MOMENT: Meaning = { fault: "moment" };

/** Parts of sentences, in small letters; the first that is found decides. */
const SENTENCES: readonly (readonly [Meaning, readonly string[]])[] = [
  [BLOCKED, ["blocked by the user"]],
  [DEACTIVATED, ["user is deactivated"]],
  [CANNOT_INITIATE, ["can't initiate conversation"]],
  [CANNOT_SEND, ["can't send messages to", "you blocked this user", "user is a bot"]],
  [
    CANNOT_SEND,
    ["have no rights to send", "not enough rights to send", "need administrator rights", "chat_write_forbidden"],
  ],
  [CHAT_NOT_FOUND, ["chat not found", "user not found", "invalid user_id specified", "chat_id is empty"]],
  [
    NO_PRIVATE_CHAT,
    [
      "upgraded to a supergroup",
      "bot was kicked from",
      "bot is not a member of",
      "group chat was deactivated",
      "group chat was deleted",
      "the group is deleted",
      "channel is private",
      "have no access to the chat",
      "need access to the chat",
      "chat not accessible",
      "message thread not found",
      "topic_closed",
      "topic_deleted",
    ],
  ],
  [
    BODY,
    [
      "can't parse entities",
      "can't find end of",
      "unsupported parse_mode",
      "message is too long",
      "caption is too long",
      "message text is empty",
      "message can't be empty",
      "message must be non-empty",
      "text must be non-empty",
      "text must be encoded in utf-8",
      "strings must be encoded in utf-8",
      "entity beginning at",
      "inline keyboard",
      "reply keyboard",
      "reply markup",
      "can't parse keyboard",
      "text buttons are unallowed",
      "buttons is too",
      "wrong http url",
      "unallowed http url",
      "url host is empty",
      "unsupported url protocol",
      "callback data is empty",
    ],
  ],
  [
    MEDIA,
    [
      "wrong file identifier",
      "wrong file_id",
      "wrong remote file",
      "invalid file id",
      "invalid file http url",
      "file is temporarily unavailable",
      "failed to get http url content",
      "wrong type of the web page content",
      "wrong url host specified",
      "type of file mismatch",
      "can't use file of type",
      "can't unserialize",
      "file must be non-empty",
      "file is too big",
      "file is too large",
      "there is no photo in the request",
      "there is no video in the request",
      "photo should be uploaded",
      "video should be uploaded",
      "request entity too large",
    ],
  ],
];

const NAMES: readonly (readonly [Meaning, string])[] = [
  [BLOCKED, "USER_IS_BLOCKED"],
  [DEACTIVATED, "INPUT_USER_DEACTIVATED USER_DEACTIVATED USER_DELETED"],
  [CANNOT_INITIATE, "BOT_CANT_INITIATE_CONVERSATION"],
  [
    CANNOT_SEND,
    `YOU_BLOCKED_USER USER_IS_BOT USER_PRIVACY_RESTRICTED PRIVACY_PREMIUM_REQUIRED ALLOW_PAYMENT_REQUIRED
    CHAT_WRITE_FORBIDDEN CHAT_RESTRICTED CHAT_ADMIN_REQUIRED CHAT_GUEST_SEND_FORBIDDEN CHAT_FORWARDS_RESTRICTED
    CHAT_SEND_PLAIN_FORBIDDEN CHAT_SEND_MEDIA_FORBIDDEN CHAT_SEND_PHOTOS_FORBIDDEN CHAT_SEND_VIDEOS_FORBIDDEN
    CHAT_SEND_AUDIOS_FORBIDDEN CHAT_SEND_DOCS_FORBIDDEN CHAT_SEND_GIFS_FORBIDDEN CHAT_SEND_INLINE_FORBIDDEN
    CHAT_SEND_GAME_FORBIDDEN CHAT_SEND_POLL_FORBIDDEN CHAT_SEND_ROUNDVIDEOS_FORBIDDEN CHAT_SEND_STICKERS_FORBIDDEN
    CHAT_SEND_VOICES_FORBIDDEN CHAT_SEND_WEBPAGE_FORBIDDEN VOICE_MESSAGES_FORBIDDEN BUTTON_USER_PRIVACY_RESTRICTED`,
  ],
  [CHAT_NOT_FOUND, "PEER_ID_INVALID CHAT_ID_INVALID USER_ID_INVALID INPUT_USER_INVALID CHAT_INVALID"],
  [
    NO_PRIVATE_CHAT,
    `CHANNEL_INVALID CHANNEL_PRIVATE PEER_ID_NOT_SUPPORTED PEER_TYPES_INVALID CHAT_MIGRATED TOPIC_CLOSED TOPIC_DELETED
    SEND_AS_PEER_INVALID ENCRYPTION_DECLINED REPLY_TO_MONOFORUM_PEER_INVALID`,
  ],
  [
    BODY,
    `MESSAGE_EMPTY MESSAGE_TOO_LONG MEDIA_CAPTION_TOO_LONG CAPTION_TOO_LONG ENTITIES_TOO_LONG ENTITY_BOUNDS_INVALID
    ENTITY_MENTION_USER_INVALID ENTITY_TYPE_INVALID MSG_ID_INVALID QUOTE_TEXT_INVALID TEXT_URL_INVALID URL_INVALID
    BUTTON_URL_INVALID BUTTON_DATA_INVALID BUTTON_TYPE_INVALID BUTTON_TEXT_INVALID BUTTON_ID_INVALID BUTTON_INVALID
    BUTTON_COPY_TEXT_INVALID BUTTON_USER_INVALID BUTTON_POS_INVALID REPLY_MARKUP_INVALID REPLY_MARKUP_TOO_LONG
    REPLY_MARKUP_BUY_EMPTY REPLY_MARKUP_GAME_EMPTY REPLY_MESSAGE_ID_INVALID REPLY_MESSAGES_TOO_MUCH REPLY_TO_INVALID
    REPLY_TO_USER_INVALID BOT_DOMAIN_INVALID WC_CONVERT_URL_INVALID WEBPAGE_URL_INVALID WEBPAGE_NOT_FOUND
    EFFECT_ID_INVALID EMOTICON_INVALID SCHEDULE_DATE_TOO_LATE SCHEDULE_DATE_INVALID POLL_OPTION_INVALID
    STARS_AMOUNT_INVALID STORY_ID_INVALID INVOICE_PAYLOAD_INVALID CURRENCY_TOTAL_AMOUNT_INVALID`,
  ],
  [
    MEDIA,
    `PHOTO_INVALID PHOTO_INVALID_DIMENSIONS PHOTO_EXT_INVALID PHOTO_SAVE_FILE_INVALID PHOTO_CONTENT_TYPE_INVALID
    PHOTO_CONTENT_URL_EMPTY PHOTO_CROP_SIZE_SMALL PHOTO_FILE_MISSING PHOTO_ID_INVALID VIDEO_CONTENT_TYPE_INVALID
    VIDEO_FILE_INVALID VIDEO_TITLE_EMPTY IMAGE_PROCESS_FAILED MEDIA_EMPTY MEDIA_INVALID MEDIA_FILE_INVALID
    MEDIA_TYPE_INVALID MEDIA_PREV_INVALID MEDIA_NEW_INVALID MEDIA_GROUPED_INVALID MEDIA_TTL_INVALID TTL_MEDIA_INVALID
    EXTENDED_MEDIA_INVALID EXTENDED_MEDIA_AMOUNT_INVALID DOCUMENT_INVALID INPUT_FILE_INVALID EXTERNAL_URL_INVALID
    MD5_CHECKSUM_INVALID WEBPAGE_CURL_FAILED WEBPAGE_MEDIA_EMPTY FILE_ID_INVALID FILE_EMPTY FILE_EMTPY FILE_TITLE_EMPTY
    FILE_CONTENT_TYPE_INVALID FILE_PARTS_INVALID FILE_PART_EMPTY FILE_PART_INVALID FILE_PART_LENGTH_INVALID
    FILE_PART_MISSING FILE_PART_SIZE_CHANGED FILE_PART_SIZE_INVALID FILE_PART_TOO_BIG FILE_PART_TOO_SMALL FILE_TOO_BIG
    FILE_REFERENCE_EXPIRED FILE_REFERENCE_INVALID FILE_REFERENCE_EMPTY FILE_REFERENCE_MISSING`,
  ],
  [
    MOMENT,
    `TIMEOUT MSG_WAIT_FAILED MSG_WAIT_TIMEOUT POSTPONED_TIMEOUT RPC_CALL_FAIL RPC_MCGET_FAIL WORKER_BUSY_TOO_LONG_RETRY
    INTERDC_CALL_ERROR INTERDC_CALL_RICH_ERROR CONNECTION_NOT_INITED`,
  ],
  [{ fault: "doubt" }, "RANDOM_ID_DUPLICATE"],
];

const BY_NAME = new Map(
  NAMES.flatMap(([meaning, names]) => names.split(/\s+/).map((name) => [name, meaning] as const)),
);

/** Waits that are told in a name: of the whole bot, or of one chat alone. */
const WAITS = /^(FLOOD(?:_PREMIUM)?|P0NY_FLOOD|SLOWMODE)_?WAIT(?:_(\d+))?$/;
const FIRST_WAIT_SECONDS = 1;

/** What a description says; undefined for words that nobody has published. */
export function meaningOf(description: string): Meaning | undefined {
  const said = withoutQuotes(description);
  const name = nameIn(said);
  if (name !== undefined) return meaningOfName(name);
  const words = said.toLowerCase();
  return SENTENCES.find(([, parts]) => parts.some((part) => words.includes(part)))?.[0];
}

function meaningOfName(name: string): Meaning | undefined {
  const wait = WAITS.exec(name);
  if (wait) {
    const seconds = Number(wait[2] ?? FIRST_WAIT_SECONDS);
    return { fault: "wait", seconds, whole: wait[1] !== "SLOWMODE" };
  }
  // Names may carry a number: FILE_PART_3_MISSING, FILE_REFERENCE_0_EXPIRED, ALLOW_PAYMENT_REQUIRED_25.
  return BY_NAME.get(name) ?? BY_NAME.get(name.replace(/_\d+(?=_|$)/g, ""));
}

/** Without what the Bot API quotes from the message, which may say anything. */
function withoutQuotes(description: string): string {
  return description.replace(/(?<=^|[\s(:=])(?:"[^"]*"|'[^']*'|«[^»]*»|“[^”]*”|`[^`]*`)/g, "…");
}

/** The name in capitals that a description is, behind "Bad Request: " or in brackets; undefined where it is a sentence. */
function nameIn(description: string): string | undefined {
  return /(?:^|: |\[)([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|TIMEOUT)(?:$|[\].:( ])/.exec(description)?.[1];
}

/** What to call a fault that nobody has published, by what its name begins with, or else by its status. */
export function guessedReason(code: number, description: string): SendReason {
  const first = nameIn(description)?.split("_")[0] ?? "";
  if (["PHOTO", "VIDEO", "FILE", "MEDIA", "IMAGE", "DOCUMENT"].includes(first)) return SendReason.media;
  if (code === 413) return SendReason.media;
  return code === 403 ? SendReason.refused : SendReason.body;
}

const LONGEST_KEY = 120;

/** What refusals of the same kind have in common: status and words, without what names a chat, a file or a request. */
export function normalisedWords(code: number, description: string): string {
  const words = withoutQuotes(description)
    .replace(/\S*\d\S*/g, "…")
    .toLowerCase()
    .replace(/^[a-z ]+: /, "")
    .replace(/\s+/g, " ")
    .trim();
  return `${code} ${words}`.slice(0, LONGEST_KEY);
}
