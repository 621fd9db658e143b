/**
 * Text as Telegram takes it. The Bot API server rewrites some characters before it counts and sends; doing the same
 * here first means that the lengths and offsets we reckon with are the ones it will see.
 */

/** The Bot API server drops these: separators and direction overrides, and three marks that draw over other lines. */
const DROPPED = /[\u2028-\u202E]|\u0333|\u033F|\u030A/g;

/** Only characters that do not show: spaces of all kinds, zero-width marks, fillers, tags. A message of them is empty. */
const INVISIBLE = /^[\s\p{Cc}\p{Default_Ignorable_Code_Point}\u180E\u2800\uFFFC]*$/u;

/**
 * The text as Telegram would show it: lone surrogates become U+FFFD, control characters (tabs too) a space, carriage
 * returns and what cannot be sent go. Line feeds stay.
 */
export function cleanText(text: string): string {
  return text
    .toWellFormed()
    .replace(/\p{Cc}/gu, cleanControl)
    .replace(DROPPED, "");
}

function cleanControl(control: string): string {
  if (control === "\n" || control >= "\u007F") return control;
  return control === "\r" ? "" : " ";
}

/** Whether Telegram would take the text for empty and refuse a message that has nothing else. */
export function isBlank(text: string): boolean {
  return INVISIBLE.test(cleanText(text));
}

/** Whether the text holds a control character; line feeds, carriage returns and tabs are those that prose may hold. */
export function hasControl(text: string, allowed: "lines" | "none"): boolean {
  const controls = text.match(/\p{Cc}/gu) ?? [];
  return allowed === "none" ? controls.length > 0 : controls.some((control) => !"\n\r\t".includes(control));
}

/** No locale changes where its boundaries are; one must be named, so that no machine's own counts. */
const characters = new Intl.Segmenter("en", { granularity: "grapheme" });

/**
 * The longest start of the text that has at most `limit` UTF-16 units and ends between two characters as a person sees
 * them: a family, a flag, a letter with its accents stays whole or goes. Empty where the first one alone is longer.
 * Only a text that is too long costs anything.
 */
export function cutText(text: string, limit: number): string {
  if (text.length <= limit) return text;
  return text.slice(0, characters.segment(text).containing(Math.max(0, limit))?.index ?? 0);
}
