import type { Entity } from "./entities.ts";
import { isWrongUrl } from "./keyboard.ts";

export type ParsedText = { text: string; entities: Entity[] } | { failedAtByte: number };

interface Span {
  /** Where the entity's content begins and ends in the source, and where reading goes on. */
  from: number;
  to: number;
  next: number;
  entity: Omit<Entity, "offset" | "length"> | undefined;
}

/**
 * Telegram's legacy Markdown: `_ * ` [` open an entity wherever they stand, a backslash escapes exactly these four and
 * only outside an entity, entities do not nest, and one that is not closed fails the whole text at its own byte.
 */
export function parseLegacyMarkdown(source: string): ParsedText {
  const entities: Entity[] = [];
  let text = "";
  let at = 0;
  while (at < source.length) {
    const opener = source[at]!;
    if (opener === "\\" && isOpener(source[at + 1])) {
      text += source[at + 1];
      at += 2;
    } else if (isOpener(opener)) {
      const span = spanAt(source, at);
      if (!span) return { failedAtByte: Buffer.byteLength(source.slice(0, at)) };
      const length = span.to - span.from;
      if (span.entity && length > 0) entities.push({ ...span.entity, offset: text.length, length });
      text += source.slice(span.from, span.to);
      at = span.next;
    } else {
      text += opener;
      at++;
    }
  }
  return { text, entities };
}

function isOpener(character: string | undefined): boolean {
  return character === "_" || character === "*" || character === "`" || character === "[";
}

function spanAt(source: string, at: number): Span | undefined {
  if (source.startsWith("```", at)) return preSpan(source, at + 3);
  const opener = source[at]!;
  const to = source.indexOf(opener === "[" ? "]" : opener, at + 1);
  if (to < 0) return undefined;
  if (opener === "[") return linkSpan(source, at + 1, to);
  const type = opener === "_" ? "italic" : opener === "*" ? "bold" : "code";
  return { from: at + 1, to, next: to + 1, entity: { type } };
}

/** A first word that ends in white space is the language; one line break after the opening is dropped. */
function preSpan(source: string, start: number): Span | undefined {
  const language = /^([^\s`]+)(?=\s)/.exec(source.slice(start))?.[1];
  const bodyStart = start + (language?.length ?? 0);
  const lineBreak = /^(\r\n|\n\r|\n|\r)/.exec(source.slice(bodyStart, bodyStart + 2))?.[0].length ?? 0;
  const from = bodyStart + lineBreak;
  const to = source.indexOf("```", from);
  if (to < 0) return undefined;
  return { from, to, next: to + 3, entity: language ? { type: "pre", language } : { type: "pre" } };
}

/** Without an address of its own the text is the address; one that is no URL leaves plain text, and is no error. */
function linkSpan(source: string, from: number, to: number): Span {
  if (source[to + 1] !== "(") return { from, to, next: to + 1, entity: linkTo(source.slice(from, to)) };
  const close = source.indexOf(")", to + 2);
  const end = close < 0 ? source.length : close;
  return { from, to, next: end + 1, entity: linkTo(source.slice(to + 2, end)) };
}

function linkTo(url: string): { type: string; url: string } | undefined {
  return isWrongUrl(url) ? undefined : { type: "text_link", url };
}
