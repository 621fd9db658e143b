/** Every shape in which a bot's token could stand in a log, a reply or a table. */

/** The token and its secret half: bare, percent-encoded, in hexadecimal, and in base64 wherever in the encoded text it begins. */
export function needlesOf(token: string): string[] {
  const secret = token.slice(token.indexOf(":") + 1);
  const texts = [token, secret];
  const encoded = texts.flatMap((text) => [
    encodeURIComponent(text),
    Buffer.from(text).toString("hex"),
    ...base64Cores(text),
  ]);
  return [...new Set([...texts, ...encoded])];
}

/** Base64 of a text differs by what stands before it: one for each of the three alignments, without what the ends share with others. */
function base64Cores(text: string): string[] {
  return [0, 1, 2].flatMap((shift) => {
    const bytes = Buffer.concat([Buffer.alloc(shift), Buffer.from(text)]);
    const whole = bytes.toString("base64").slice(shift === 0 ? 0 : shift + 1);
    const core = whole.slice(0, Math.floor((bytes.length * 8) / 6) - (shift === 0 ? 0 : shift + 1));
    return [core, core.replaceAll("+", "-").replaceAll("/", "_")];
  });
}

/** How often any of them stands in the text; hexadecimal in either case. */
export function hitsIn(text: string, needles: readonly string[]): number {
  const lower = text.toLowerCase();
  return needles.reduce((sum, needle) => {
    const isHex = /^[0-9a-f]+$/.test(needle);
    return sum + (isHex ? lower : text).split(needle).length - 1;
  }, 0);
}
