/**
 * Addresses as the Bot API server reads them, which is neither RFC 3986 nor WHATWG: the scheme may be missing (then it
 * is http), the host of an http address needs a dot, and raw Unicode is fine in it. One that it cannot read fails the
 * message (in a button) or silently becomes plain text (in the text), so we must read them the same way.
 */

/** Address parts of an http or https link. `path` has the query and the fragment, and starts with a slash. */
interface WebAddress {
  scheme: "http" | "https";
  schemeGiven: boolean;
  userinfo: string;
  host: string;
  port: string;
  path: string;
}

/** What a host may be made of, as the Bot API server has it. */
export const HOST = /^(?:[\w.!$,~*'();&+=-]|%[0-9a-f]{2}|[\u{80}-\u{10FFFF}])+$/iu;
export const USERINFO = /^(?:[\w.!$,~*'();&+=:-]|%[0-9a-f]{2}|[\u{80}-\u{10FFFF}])*$/iu;
const APP_LINK = /^(tg|ton|tonsite):(?:\/\/)?/i;

/**
 * The link as Telegram would store it (host in lower case, scheme and path filled in), or undefined if Telegram would
 * not take it for a link. Macros survive only behind the host: braces are not allowed before.
 */
export function canonicalLink(link: string): string | undefined {
  const app = APP_LINK.exec(link);
  if (app) return appLink(app[1]!.toLowerCase(), link.slice(app[0].length));
  const address = webAddress(link);
  if (!address) return undefined;
  if (!address.host.includes(".") && !address.host.startsWith("[")) return undefined;
  const userinfo = address.userinfo === "" ? "" : `${address.userinfo}@`;
  const port = address.port === "" ? "" : `:${address.port}`;
  return `${address.scheme}://${userinfo}${address.host}${port}${address.path}`;
}

/** The host that a person would recognise: without port and user; undefined for what is not an http or https link. */
export function webHost(link: string): string | undefined {
  return APP_LINK.test(link) ? undefined : webAddress(link)?.host;
}

/** What stands before the path, the query or the fragment: the part that decides where a link leads. */
export function linkOrigin(link: string): string {
  const scheme = /^[a-z]+:(?:\/\/)?/i.exec(link)?.[0] ?? "";
  const end = link.slice(scheme.length).search(/[/?#]/);
  return end < 0 ? link : link.slice(0, scheme.length + end);
}

/** UTF-8 bytes of the addresses of links. */
export function linkBytes(entities: readonly { type: string; url?: string }[]): number {
  return entities.reduce((bytes, { url }) => bytes + (url === undefined ? 0 : Buffer.byteLength(url)), 0);
}

function appLink(scheme: string, rest: string): string | undefined {
  const address = webAddress(rest);
  if (!address || address.schemeGiven || address.userinfo !== "" || address.port !== "") return undefined;
  const host = scheme === "tonsite" ? /^[a-z0-9_.-]+$/ : /^[a-z0-9_-]+$/;
  if (!host.test(address.host)) return undefined;
  const path = address.path.startsWith("/?") ? address.path.slice(1) : address.path;
  return `${scheme}://${address.host}${path}`;
}

function webAddress(link: string): WebAddress | undefined {
  const given = /^([^:/?#@[\]]*):\/\//.exec(link);
  const scheme = given ? given[1]!.toLowerCase() : "http";
  if (scheme !== "http" && scheme !== "https") return undefined;
  const rest = link.slice(given?.[0].length ?? 0);
  const end = rest.search(/[/?#]/);
  const authority = readAuthority(end < 0 ? rest : rest.slice(0, end));
  if (!authority) return undefined;
  return { scheme, schemeGiven: given !== null, ...authority, path: canonicalPath(end < 0 ? "" : rest.slice(end)) };
}

function readAuthority(authority: string): Pick<WebAddress, "userinfo" | "host" | "port"> | undefined {
  const mark = Math.max(authority.lastIndexOf(":"), authority.lastIndexOf("]"), authority.lastIndexOf("@"));
  const hasPort = mark > 0 && authority[mark] === ":";
  const port = hasPort ? authority.slice(mark + 1).replace(/^0+(?=.)/, "") : "";
  if (hasPort && !isPort(port)) return undefined;
  const before = hasPort ? authority.slice(0, mark) : authority;
  const at = before.lastIndexOf("@");
  const userinfo = before.slice(0, Math.max(0, at));
  const host = before.slice(at + 1).replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  if (isIpv6(host)) return { userinfo, host, port };
  return host !== "." && HOST.test(host) && USERINFO.test(userinfo) ? { userinfo, host, port } : undefined;
}

/** A port, without the noughts that may stand in front. */
export function isPort(port: string): boolean {
  return /^[1-9]\d{0,4}$/.test(port) && Number(port) <= 65_535;
}

function isIpv6(host: string): boolean {
  return /^\[[0-9a-f:.]+\]$/.test(host) && URL.canParse(`http://${host}/`);
}

/** Trailing space goes (a loop: `\s+$` would be quadratic), what cannot stand in an address is percent-encoded. */
function canonicalPath(rest: string): string {
  let end = rest.length;
  while (end > 0 && " \t\r\n\v\0".includes(rest[end - 1]!)) end--;
  const path = rest.slice(0, end).replace(/[\p{Cc} ]/gu, (char) => (char <= " " ? encodeURIComponent(char) : char));
  return path.startsWith("/") ? path : `/${path}`;
}
