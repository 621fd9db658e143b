import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";
import {
  BUTTON_LIMIT,
  ENTITY_LIMIT,
  LINK_BYTES_LIMIT,
  LINK_LIMIT,
  MEDIA_REF_LIMIT,
  type MediaType,
  SOURCE_LIMIT,
  TEXT_LIMIT,
  textLimit,
} from "./limits.ts";
import { linkBytes, linkOrigin } from "./link.ts";
import { linkFault } from "./link-fault.ts";
import { hasMacro } from "./macros.ts";
import { MarkdownError, type OnLostLink, type ParsedText, parseMarkdown } from "./markdown.ts";
import { cutText, hasControl, isBlank } from "./plain-text.ts";

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

/**
 * For Start and for turning a block on: throws DomainError BODY_INVALID when there is neither text nor media, or more than
 * Telegram takes, as in a body that was saved before that was checked.
 */
export function checkSendable(body: MessageBody): void {
  const problem = isEmptyBody(body)
    ? "The message is empty: give it a text, a photo or a video first."
    : storedFault(body);
  if (problem !== undefined) throw new DomainError(ErrorReason.BODY_INVALID, problem, { field: "text" });
}

function storedFault({ text }: MessageBody): string | undefined {
  return amountFault(parseText(text));
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
  const parsed = parseText(text, refuseLostLink);
  const limit = textLimit(body.mediaType);
  if (parsed.text.length > limit) {
    const why = limit === TEXT_LIMIT ? "" : " when there is media";
    throw invalid("text", `The text has ${parsed.text.length} characters: shorten it to at most ${limit}${why}.`);
  }
  const amount = amountFault(parsed);
  if (amount !== undefined) throw invalid("text", amount);
  checkTextLinks(parsed);
  return parsed;
}

/** What is too much of in a text that has no single fault. */
function amountFault({ entities }: ParsedText): string | undefined {
  if (entities.length > ENTITY_LIMIT) {
    return `The text has ${entities.length} entities (formatted places and links): Telegram shows only ${ENTITY_LIMIT}.`;
  }
  const bytes = linkBytes(entities);
  if (bytes <= LINK_BYTES_LIMIT) return undefined;
  return `The addresses of the links in the text have ${bytes} bytes together: shorten them to at most ${LINK_BYTES_LIMIT}.`;
}

function checkTextLinks({ text, entities }: ParsedText): void {
  for (const entity of entities) {
    if (entity.type !== "text_link") continue;
    const name = nameOfTextLink(text.slice(entity.offset, entity.offset + entity.length));
    if (entity.url.length > LINK_LIMIT) {
      throw invalid("text", `${name} is too long: shorten it to at most ${LINK_LIMIT} characters.`);
    }
    if (hasMacro(linkOrigin(entity.url))) throw invalid("text", linkFault(entity.url, name)!);
  }
}

/** Telegram would send such a link's text without its address, and nobody would know why. */
const refuseLostLink: OnLostLink = (text, address) => {
  const name = nameOfTextLink(text);
  if (address.trim() === "") throw invalid("text", `${name} has no address: write [text](https://example.com/path).`);
  throw invalid(
    "text",
    linkFault(address, name) ?? `${name} is not a valid address: write it as https://example.com/path.`,
  );
};

function nameOfTextLink(text: string): string {
  return `The link "${cutText(text.trim(), MAX_SHOWN_UNITS)}" in the text`;
}

/** Enough of a link's text to find it again. */
const MAX_SHOWN_UNITS = 40;

function parseText(text: string, onLostLink?: OnLostLink): ParsedText {
  try {
    return parseMarkdown(text, onLostLink);
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
  const fault = linkFault(link, "The link");
  if (fault !== undefined) throw invalid("link", fault);
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
