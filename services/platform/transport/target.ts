/**
 * The target of a request as text from outside. No URL parser ever sees it raw: `new URL` throws for some targets, and
 * quietly turns others (dot segments, backslashes, a `#`) into a path that no proxy in front of us has seen.
 */

/** Whatever a request is about, as `path?query`: `OPTIONS *` has no path. */
export const asterisk = "*";

const absoluteForm = /^https?:\/\/[^/?]*/i;
/** Bytes that no target has: controls, space, DEL; and what parsers of URLs read in different ways. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: controls are what is looked for.
const forbidden = /[\u0000-\u0020\u007f#\\]/;
const dotSegment = /\/(?:\.|%2e){1,2}(?:\/|$)/i;
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is where ASCII begins.
const isAscii = /^[\u0000-\u007f]*$/;
const notAscii = /[\u0080-\uffff]/g;

/**
 * The origin form (`/path?query`) of a target in origin or absolute form, with bytes outside of ASCII percent-encoded.
 * `undefined` when there is none, or when two readers could take it for different paths.
 */
export function originForm(target: string): string | undefined {
  if (forbidden.test(target)) return undefined;
  const form = withoutOrigin(target);
  if (!form.startsWith("/") || dotSegment.test(pathOf(form))) return undefined;
  return isAscii.test(form) ? form : form.replaceAll(notAscii, percentEncoded);
}

function withoutOrigin(target: string): string {
  if (target.startsWith("/")) return target;
  const origin = absoluteForm.exec(target)?.[0];
  if (origin === undefined) return target;
  const rest = target.slice(origin.length);
  return rest.startsWith("/") ? rest : `/${rest}`;
}

/** HTTP/1 targets come as bytes in Latin-1, HTTP/2 ones may hold what was decoded from UTF-8. */
function percentEncoded(character: string): string {
  const code = character.charCodeAt(0);
  if (code <= 0xff) return `%${code.toString(16).toUpperCase()}`;
  // Half of a pair cannot be encoded; what the replacement character finds is nothing, too.
  return encodeURIComponent(character.isWellFormed() ? character : "\ufffd");
}

/** The path of an origin form, without its query. */
export function pathOf(form: string): string {
  const query = form.indexOf("?");
  return query < 0 ? form : form.slice(0, query);
}

const origin = "http://localhost";

/** The origin form of a `Request`'s URL, whatever its origin is: it has been parsed, so its path begins with a slash. */
export function formOfUrl(url: string): string {
  return url.slice(url.indexOf("/", url.indexOf("//") + 2));
}

export function pathOfUrl(url: string): string {
  return pathOf(formOfUrl(url));
}

/** A URL for those libraries that want one: what the client calls the host has no part in it. */
export function urlOf(form: string): string {
  return origin + form;
}
