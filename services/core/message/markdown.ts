import { canonicalLink } from "./link.ts";
import { cleanText } from "./plain-text.ts";

/**
 * Telegram's legacy Markdown, read exactly as the Bot API server reads it. We parse at save and send text with
 * entities, so that a mistake is shown to the author and not to a worker, and no macro value is ever read as Markdown.
 *
 * - `_italic_`, `*bold*`, `` `code` ``, ```` ```language pre``` ````, `[text](address)`; `[address]` links to itself.
 * - Outside an entity a backslash makes the next `_ * `` ` `` [` plain; any other backslash is a backslash.
 * - Inside an entity nothing has a meaning but its end: no nesting, no escapes.
 * - Entities without text vanish. A link whose address Telegram cannot read leaves its text as plain text.
 * - Space and line feeds go from both ends of the text and from the start of an entity, as Telegram sends it.
 *
 * In one thing we are stricter: an address that is opened with `(` and never closed is refused. Telegram would take the
 * whole rest of the message for the address and lose it.
 */

/** `offset` and `length` count UTF-16 units of the parsed text. `tg://user?id=…` stays a text_link: Telegram makes it a mention. */
export type TextEntity =
  | { type: "bold" | "italic" | "code"; offset: number; length: number }
  | { type: "pre"; offset: number; length: number; language?: string }
  | { type: "text_link"; offset: number; length: number; url: string };

/** What the Bot API takes as `text` and `entities`: entities in order, none inside or across another. */
export interface ParsedText {
  text: string;
  entities: TextEntity[];
}

/** The Markdown cannot be read; the message tells its author where and what to do. */
export class MarkdownError extends Error {
  override readonly name = "MarkdownError";

  constructor(
    message: string,
    /** Where in the source the mark stands that is never closed, in UTF-16 units from 0. */
    readonly offset: number,
  ) {
    super(message);
  }
}

interface Reader {
  readonly source: string;
  /** The next unit of the source to read. */
  at: number;
  readonly pieces: string[];
  /** UTF-16 units in `pieces`. */
  length: number;
  readonly entities: TextEntity[];
  readonly onLostLink: OnLostLink;
}

/** Told of each link whose address Telegram would drop without a word, with its text and its address as written. */
export type OnLostLink = (text: string, address: string) => void;

const SPANS = { _: "italic", "*": "bold", "`": "code" } as const;

type Mark = keyof typeof SPANS | "[";

const PLAIN_RUN = /[^_*`[\\]+/y;
const ESCAPED = /\\([_*`[])/y;
const BACKSLASH = /\\/y;
const LANGUAGE = /[^ \t\r\n\v`]+(?=[ \t\r\n\v])/y;
const LINE_END = /\r\n|\n\r|\n|\r/y;

/** Reads the source in linear time. Throws MarkdownError if an entity is never closed. */
export function parseMarkdown(source: string, onLostLink: OnLostLink = () => {}): ParsedText {
  const reader: Reader = { source, at: 0, pieces: [], length: 0, entities: [], onLostLink };
  while (reader.at < source.length) readNext(reader);
  return trimText(reader.pieces.join(""), reader.entities);
}

function readNext(reader: Reader): void {
  const plain = match(reader, PLAIN_RUN)?.[0] ?? match(reader, ESCAPED)?.[1] ?? match(reader, BACKSLASH)?.[0];
  if (plain !== undefined) emit(reader, plain);
  else readEntity(reader, reader.source[reader.at] as Mark);
}

function readEntity(reader: Reader, mark: Mark): void {
  if (mark === "[") readLink(reader);
  else if (reader.source.startsWith("```", reader.at)) readPre(reader);
  else readSpan(reader, mark);
}

function readSpan(reader: Reader, mark: keyof typeof SPANS): void {
  const open = reader.at++;
  const offset = reader.length;
  const length = emit(reader, takeUntil(reader, mark, open));
  if (length > 0) reader.entities.push({ type: SPANS[mark], offset, length });
}

function readPre(reader: Reader): void {
  const open = reader.at;
  reader.at += 3;
  const language = match(reader, LANGUAGE)?.[0];
  match(reader, LINE_END);
  const offset = reader.length;
  const length = emit(reader, takeUntil(reader, "```", open));
  if (length > 0) reader.entities.push({ type: "pre", offset, length, ...(language && { language }) });
}

function readLink(reader: Reader): void {
  const open = reader.at++;
  const offset = reader.length;
  const text = takeUntil(reader, "]", open);
  const length = emit(reader, text);
  // Without text there is no entity, and then Telegram does not look for an address: "(…)" stays as it is.
  if (text === "") return;
  const address = reader.source[reader.at] === "(" ? takeAddress(reader) : undefined;
  const url = canonicalLink((address ?? text).toWellFormed());
  if (url !== undefined && length > 0) reader.entities.push({ type: "text_link", offset, length, url });
  if (url === undefined && address !== undefined) reader.onLostLink(text, address);
}

function takeAddress(reader: Reader): string {
  const open = reader.at++;
  return takeUntil(reader, ")", open);
}

/** The source up to `end`, which is passed over. `open` is what the error points at. */
function takeUntil(reader: Reader, end: string, open: number): string {
  const from = reader.at;
  const to = reader.source.indexOf(end, from);
  if (to < 0) throw neverClosed(reader.source, open);
  reader.at = to + end.length;
  return reader.source.slice(from, to);
}

function match(reader: Reader, sticky: RegExp): RegExpExecArray | null {
  sticky.lastIndex = reader.at;
  const found = sticky.exec(reader.source);
  if (found) reader.at += found[0].length;
  return found;
}

/** Adds to the parsed text, and says how many units it grew by. */
function emit(reader: Reader, text: string): number {
  const clean = cleanText(text);
  reader.pieces.push(clean);
  reader.length += clean.length;
  return clean.length;
}

function neverClosed(source: string, offset: number): MarkdownError {
  const mark = source.startsWith("```", offset) ? "```" : source[offset]!;
  // People count characters from 1, and an emoji as one; `offset` is for programs.
  const character = Array.from(source.slice(0, offset)).length + 1;
  return new MarkdownError(`The ${mark} at character ${character} is never closed: ${closingAdvice(mark)}`, offset);
}

function closingAdvice(mark: string): string {
  switch (mark) {
    case "*":
      return "close it with another *, or write \\* for a plain star.";
    case "_":
      return "close it with another _, or write \\_ for a plain underscore.";
    case "`":
      return "close it with another `, or write \\` for a plain backtick.";
    case "```":
      return "close it with another ```, or write \\`\\`\\` for plain backticks.";
    case "(":
      return "end the link's address with ).";
    default:
      return "write a link as [text](address), or \\[ for a plain bracket.";
  }
}

function trimText(text: string, entities: TextEntity[]): ParsedText {
  let end = text.length;
  while (end > 0 && isTrimmed(text[end - 1])) end--;
  const kept = entities.map((entity) => trimEntity(text, entity, end)).filter((entity) => entity.length > 0);
  // Telegram keeps the space that a link starts with, also at the start of the text.
  const stop = kept[0]?.offset ?? end;
  let start = 0;
  while (start < stop && isTrimmed(text[start])) start++;
  return {
    text: text.slice(start, end),
    entities: kept.map((entity) => ({ ...entity, offset: entity.offset - start })),
  };
}

function trimEntity(text: string, entity: TextEntity, textEnd: number): TextEntity {
  const end = Math.min(entity.offset + entity.length, textEnd);
  let offset = entity.offset;
  if (entity.type !== "text_link") while (offset < end && isTrimmed(text[offset])) offset++;
  return { ...entity, offset, length: Math.max(0, end - offset) };
}

function isTrimmed(char: string | undefined): boolean {
  return char === " " || char === "\n";
}
