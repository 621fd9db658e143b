import { LINK_BYTES_LIMIT, LINK_LIMIT, MACRO_VALUE_LIMIT, TEXT_LIMIT } from "./limits.ts";
import { linkBytes, linkOrigin } from "./link.ts";
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

/**
 * Either brace may be percent-encoded: whatever passes an address on (a browser's address bar, a form builder) encodes
 * them. The name is not: nothing encodes letters.
 */
const MACRO = new RegExp(`(?:\\{|%7[Bb])(${MACRO_NAMES.join("|")})(?:\\}|%7[Dd])`, "g");

/** For texts without a percent-encoded brace, which are nearly all: it takes a third of the time. */
const PLAIN_MACRO = new RegExp(`\\{(${MACRO_NAMES.join("|")})\\}`, "g");

/** Whether a part of a link holds a macro, percent-encoded or not. */
export function hasMacro(link: string): boolean {
  return link.search(MACRO) >= 0;
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
 * The text with values in place of macros, as plain text, and percent-encoded in the addresses of links: entities move and stretch with what is put inside them, and
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
    entities.push({ ...entity, offset, length: text.length - offset });
  }
  text += fillPiece(parsed.text.slice(read), values);
  const kept = entities.filter((entity) => entity.length > 0);
  return clip({ text, entities: withFilledLinks(kept, values) }, limit);
}

/** One line of plain text with values in place of macros, such as a button's caption. */
export function fillLine(line: string, values: MacroValues): string {
  return fillPiece(line, values).replaceAll("\n", " ").trim();
}

/**
 * The link with values in place of macros, percent-encoded, so that none can leave its place: a value adds no slash,
 * question mark, hash or ampersand, and none goes into the scheme or the host. If the result is longer than LINK_LIMIT,
 * all values are shortened alike until it fits (the link's own text is never cut, so a template within the limit always
 * does). No value gives more than `valueLimit` units.
 */
export function fillLink(link: string, values: MacroValues, valueLimit = MACRO_VALUE_LIMIT): string {
  const filled = fillLinkWith(link, values, valueLimit);
  if (filled.length <= LINK_LIMIT) return filled;
  const fits = highestBelow(valueLimit, (limit) => fillLinkWith(link, values, limit).length <= LINK_LIMIT);
  return fillLinkWith(link, values, fits);
}

/** What the values add may take the addresses over what one message may carry: then all values are shortened alike. */
function withFilledLinks(entities: TextEntity[], values: MacroValues): TextEntity[] {
  if (entities.every(({ type }) => type !== "text_link")) return entities;
  const filled = (valueLimit: number) =>
    entities.map((entity) =>
      entity.type === "text_link" ? { ...entity, url: fillLink(entity.url, values, valueLimit) } : entity,
    );
  const fits = (valueLimit: number) => linkBytes(filled(valueLimit)) <= LINK_BYTES_LIMIT;
  const whole = filled(MACRO_VALUE_LIMIT);
  // A text that was saved before there was this limit keeps its values, for Telegram to judge.
  if (linkBytes(whole) <= LINK_BYTES_LIMIT || !fits(0)) return whole;
  return filled(highestBelow(MACRO_VALUE_LIMIT, fits));
}

/** The highest number below `top` that fits, where smaller ones fit too; 0 where none does. */
function highestBelow(top: number, fits: (limit: number) => boolean): number {
  let low = 0;
  let high = top;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}

function fillLinkWith(link: string, values: MacroValues, valueLimit: number): string {
  const origin = linkOrigin(link);
  const rest = link.slice(origin.length);
  return origin + replaceMacros(rest, (_, name) => encodedValue(values[name], valueLimit));
}

function encodedValue(value: string, limit: number): string {
  return encodeURIComponent(cutText(value.toWellFormed(), limit));
}

/** A macro that is percent-encoded is one only where the text shows an address: there Telegram makes a link of it. */
function fillPiece(piece: string, values: MacroValues): string {
  return replaceMacros(piece, (macro, name, at) => {
    if (macro.startsWith("{") && macro.endsWith("}")) {
      return cleanText(cutText(values[name].toWellFormed(), MACRO_VALUE_LIMIT));
    }
    return isInAddress(piece, at) ? encodedValue(values[name], MACRO_VALUE_LIMIT) : macro;
  });
}

function replaceMacros(template: string, fill: (macro: string, name: MacroName, at: number) => string): string {
  return template.replace(template.includes("%7") ? MACRO : PLAIN_MACRO, fill);
}

/** Whether an address stands before this place and reaches to it, with its host complete. */
function isInAddress(text: string, at: number): boolean {
  const word = text
    .slice(Math.max(0, at - LINK_LIMIT), at)
    .split(/\s/)
    .at(-1)!;
  return /https?:\/\/[^/?#]+[/?#]/i.test(word);
}

function clip(filled: ParsedText, limit: number): ParsedText {
  if (filled.text.length <= limit) return filled;
  const kept = cutText(filled.text, limit - 1);
  const entities = filled.entities
    .map((entity) => ({ ...entity, length: Math.min(entity.length, kept.length - entity.offset) }))
    .filter((entity) => entity.length > 0);
  return { text: `${kept}…`, entities };
}
