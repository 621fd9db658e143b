/** Long enough to recognise any name of ours with an index behind it. */
const maxShownUnits = 60;

/**
 * A name that a caller made up, as a message may show it. Letters that look like ours, marks that cannot be seen, markup
 * and line ends are written as their code points, and a long name is cut: the message stays one short line.
 */
export function shownName(name: string): string {
  if (/^[\w.[\]-]{1,60}$/.test(name)) return name;
  const start = name.slice(0, maxShownUnits);
  const escaped = start.replaceAll(/[^\w.[\] -]/gu, (char) => `\\u{${char.codePointAt(0)!.toString(16)}}`);
  return `"${escaped}${name.length > maxShownUnits ? "…" : ""}"`;
}
