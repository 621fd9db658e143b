import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";
import {
  BUTTON_LIMIT,
  LINK_LIMIT,
  MEDIA_REF_LIMIT,
  type MediaType,
  SOURCE_LIMIT,
  TEXT_LIMIT,
  textLimit,
} from "./limits.ts";
import { canonicalLink, linkOrigin, webHost } from "./link.ts";
import { hasMacro } from "./macros.ts";
import { MarkdownError, type ParsedText, parseMarkdown } from "./markdown.ts";
import { hasControl, isBlank } from "./plain-text.ts";

/** What a lead gets, as its author wrote it: the same for a triggered block and for a broadcast. */
export interface MessageBody {
  /** Telegram's legacy Markdown, with macros. */
  text: string;
  /** A media ref that the account uploaded; empty for none. */
  media: string;
  /** What the ref holds; 0 if and only if `media` is empty. */
  mediaType: MediaType;
  /** The button's caption, with macros; empty if and only if `link` is. */
  button: string;
  /** The button's address, with macros behind its host. */
  link: string;
}

type Field = "text" | "media" | "media_type" | "button" | "link";

/** The body of a block or broadcast that nobody has written yet. */
export const emptyBody: Readonly<MessageBody> = Object.freeze({
  text: "",
  media: "",
  mediaType: 0,
  button: "",
  link: "",
});

/** Whether there is neither text nor media. Space and Markdown around nothing are no text; a button alone is no message. */
export function isEmptyBody(body: MessageBody): boolean {
  if (body.media !== "") return false;
  try {
    return isBlank(parseMarkdown(body.text).text);
  } catch (error) {
    if (error instanceof MarkdownError) return false;
    throw error;
  }
}

/**
 * Checks every limit that can be checked without looking anything up (that the account owns the media is the caller's
 * to check), and gives the text parsed. An empty body passes: it may be saved, see `checkSendable`.
 * Throws DomainError INVALID_ARGUMENT; its `field` is the body's field at fault.
 */
export function checkBody(body: MessageBody): ParsedText {
  checkMedia(body);
  const parsed = checkText(body);
  checkButton(body);
  return parsed;
}

/** For Start and for turning a block on: throws DomainError BODY_INVALID when there is neither text nor media. */
export function checkSendable(body: MessageBody): void {
  if (!isEmptyBody(body)) return;
  throw new DomainError(ErrorReason.BODY_INVALID, "The message is empty: give it a text, a photo or a video first.", {
    field: "text",
  });
}

function checkText(body: MessageBody): ParsedText {
  const { text } = body;
  if (text.length > SOURCE_LIMIT) {
    throw invalid(
      "text",
      `The text with its formatting has ${text.length} characters: shorten it to at most ${SOURCE_LIMIT}.`,
    );
  }
  checkCharacters("text", "text", text, "lines");
  const parsed = parseText(text);
  const limit = textLimit(body.mediaType);
  if (parsed.text.length > limit) {
    const why = limit === TEXT_LIMIT ? "" : " when there is media";
    throw invalid("text", `The text has ${parsed.text.length} characters: shorten it to at most ${limit}${why}.`);
  }
  checkTextLinks(parsed);
  return parsed;
}

function checkTextLinks({ entities }: ParsedText): void {
  const tooLong = entities.some((entity) => entity.type === "text_link" && entity.url.length > LINK_LIMIT);
  if (tooLong) throw invalid("text", `A link in the text is too long: shorten it to at most ${LINK_LIMIT} characters.`);
}

function parseText(text: string): ParsedText {
  try {
    return parseMarkdown(text);
  } catch (error) {
    if (error instanceof MarkdownError) throw invalid("text", `The text cannot be sent. ${error.message}`, error);
    throw error;
  }
}

function checkMedia({ media, mediaType }: MessageBody): void {
  if (mediaType !== 0 && mediaType !== 1 && mediaType !== 2) {
    throw invalid("media_type", "The media type must be 0 (none), 1 (photo) or 2 (video).");
  }
  if (media === "" && mediaType !== 0) {
    throw invalid("media_type", "There is no media: give its ref, or set the media type to 0.");
  }
  if (media !== "" && mediaType === 0) {
    throw invalid("media_type", "Say what the media is: 1 for a photo, 2 for a video, as the upload answered.");
  }
  if (media.length > MEDIA_REF_LIMIT) throw invalid("media", "This is no media ref: give the one the upload answered.");
  checkCharacters("media", "media ref", media, "none");
}

function checkButton({ button, link }: MessageBody): void {
  if (button === "" && link === "") return;
  if (link === "") throw invalid("link", "The button has no link: give one, or remove the button's caption.");
  if (isBlank(button))
    throw invalid("button", "The link has no button: give the button a caption, or remove the link.");
  if (button.length > BUTTON_LIMIT) {
    throw invalid(
      "button",
      `The button's caption has ${button.length} characters: shorten it to at most ${BUTTON_LIMIT}.`,
    );
  }
  checkCharacters("button", "button's caption", button, "none");
  checkLink(link);
}

function checkLink(link: string): void {
  if (link.length > LINK_LIMIT) {
    throw invalid("link", `The link has ${link.length} characters: shorten it to at most ${LINK_LIMIT}.`);
  }
  checkCharacters("link", "link", link, "none");
  if (/[\s\\]/.test(link)) {
    throw invalid("link", "The link holds a space or a backslash: remove it, or write %20 or %5C.");
  }
  if (!/^(https?:\/\/|tg:)/i.test(link)) throw invalid("link", "The link must start with https://, http:// or tg://.");
  if (hasMacro(linkOrigin(link))) {
    throw invalid("link", "A macro may stand only behind the link's host, as in https://example.com/?click={click}.");
  }
  if (/^tg:/i.test(link) ? canonicalLink(link) === undefined : !isWebLink(link)) {
    throw invalid("link", "The link is not a valid address: its host must have a dot, as in https://example.com/path.");
  }
}

/** Telegram must read it, and so must the browser that it opens: each refuses some that the other takes. */
function isWebLink(link: string): boolean {
  const dotted = /[^.]\.[^.]/.test(webHost(link) ?? "");
  return dotted && canonicalLink(link) !== undefined && URL.canParse(link);
}

function checkCharacters(field: Field, name: string, value: string, allowed: "lines" | "none"): void {
  if (!value.isWellFormed()) {
    throw invalid(field, `The ${name} holds half an emoji or another broken character: type that place again.`);
  }
  if (hasControl(value, allowed)) {
    throw invalid(field, `The ${name} holds a control character, which cannot be seen: type that place again.`);
  }
}

function invalid(field: Field, message: string, cause?: unknown): DomainError {
  return new DomainError(ErrorReason.INVALID_ARGUMENT, message, { field, cause });
}
