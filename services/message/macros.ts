import { LINK_LIMIT, MACRO_VALUE_LIMIT, TEXT_LIMIT } from "./limits.ts";
import type { ParsedText, TextEntity } from "./markdown.ts";
import { cleanText, cutText } from "./plain-text.ts";

export { isBlank } from "./plain-text.ts";

/** The macros that a body may hold, each written in braces: `{click}`. Any other word in braces stays as it is. */
export const MACRO_NAMES = [
  "click",
  "status",
  "campaign",
  "user",
  "lead",
  "subscriber",
  "username",
  "chat",
  "time",
] as const;

export type MacroName = (typeof MACRO_NAMES)[number];

/** What the macros stand for with one lead; an empty value gives an empty string. */
export type MacroValues = Record<MacroName, string>;

const MACRO = new RegExp(`\\{(${MACRO_NAMES.join("|")})\\}`, "g");

/** Whether the text holds a macro that would be replaced. */
export function hasMacro(text: string): boolean {
  return text.search(MACRO) >= 0;
}

/** Values for a preview, where there is no lead: plausible ones, and `known` over them. */
export function sampleMacroValues(known: Partial<MacroValues> = {}): MacroValues {
  return {
    click: "sample-click",
    status: "wait",
    campaign: "sample",
    user: "Alex",
    lead: "1",
    subscriber: "1",
    username: "alex",
    chat: "1",
    time: "1717500000",
    ...known,
  };
}

/**
 * The text with values in place of macros, as plain text: entities move and stretch with what is put inside them, and
 * no value opens, closes or moves out of one. A macro that is half inside an entity is not a macro. Entities that end
 * up empty go.
 *
 * Each value gives at most MACRO_VALUE_LIMIT units. If the whole is then longer than `limit` units, its end is cut
 * between two characters and an ellipsis stands for the rest: a long name must not be a reason for Telegram to refuse.
 * The result may be blank (see `isBlank`), which Telegram refuses unless there is media.
 */
export function fillText(parsed: ParsedText, values: MacroValues, limit: number = TEXT_LIMIT): ParsedText {
  let text = "";
  let read = 0;
  const entities: TextEntity[] = [];
  for (const entity of parsed.entities) {
    text += fillPiece(parsed.text.slice(read, entity.offset), values);
    read = entity.offset + entity.length;
    const offset = text.length;
    text += fillPiece(parsed.text.slice(entity.offset, read), values);
    entities.push(movedTo({ ...entity, offset, length: text.length - offset }, values));
  }
  text += fillPiece(parsed.text.slice(read), values);
  return clip({ text, entities: entities.filter((entity) => entity.length > 0) }, limit);
}

/** One line of plain text with values in place of macros, such as a button's caption. */
export function fillLine(line: string, values: MacroValues): string {
  return fillPiece(line, values).replaceAll("\n", " ").trim();
}

/**
 * The link with values in place of macros, percent-encoded, so that none can leave its place: a value adds no slash,
 * question mark, hash or ampersand. If the result is longer than LINK_LIMIT, all values are shortened alike until it
 * fits (the link's own text is never cut, so a template within the limit always does).
 */
export function fillLink(link: string, values: MacroValues): string {
  const filled = fillLinkWith(link, values, MACRO_VALUE_LIMIT);
  if (filled.length <= LINK_LIMIT) return filled;
  let fits = 0;
  let tooLong = MACRO_VALUE_LIMIT;
  while (tooLong - fits > 1) {
    const middle = (fits + tooLong) >> 1;
    if (fillLinkWith(link, values, middle).length <= LINK_LIMIT) fits = middle;
    else tooLong = middle;
  }
  return fillLinkWith(link, values, fits);
}

function fillLinkWith(link: string, values: MacroValues, valueLimit: number): string {
  return replaceMacros(link, (name) => encodeURIComponent(cutText(values[name].toWellFormed(), valueLimit)));
}

function fillPiece(piece: string, values: MacroValues): string {
  return replaceMacros(piece, (name) => cleanText(cutText(values[name].toWellFormed(), MACRO_VALUE_LIMIT)));
}

function replaceMacros(template: string, fill: (name: MacroName) => string): string {
  return template.replace(MACRO, (_, name: MacroName) => fill(name));
}

function movedTo(entity: TextEntity, values: MacroValues): TextEntity {
  return entity.type === "text_link" ? { ...entity, url: fillLink(entity.url, values) } : entity;
}

function clip(filled: ParsedText, limit: number): ParsedText {
  if (filled.text.length <= limit) return filled;
  const kept = cutText(filled.text, limit - 1);
  const entities = filled.entities
    .map((entity) => ({ ...entity, length: Math.min(entity.length, kept.length - entity.offset) }))
    .filter((entity) => entity.length > 0);
  return { text: `${kept}…`, entities };
}
