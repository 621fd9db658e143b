/**
 * What is wrong with an address, in words for its author. Each fault is told as itself: whoever reads that a host needs a
 * dot does not look at the port.
 */
import { canonicalLink, HOST, isPort, linkOrigin, USERINFO, webHost } from "./link.ts";
import { hasMacro } from "./macros.ts";

/** Marks without a width, and those that turn the direction of what follows: no author means them in an address. */
const UNSEEN = /[\u00AD\u061C\u180E\u200B\u200E\u200F\u202A-\u202E\u2060-\u2069\uFEFF]/;
const SCHEMES = "https://, http:// or tg://";

/**
 * A sentence that begins with `name` and says what to do, or undefined for an address that Telegram takes for a button
 * and a browser opens.
 */
export function linkFault(link: string, name: string): string | undefined {
  const fault = characterFault(link) ?? schemeFault(link) ?? macroFault(link);
  if (fault !== undefined) return `${name} ${fault}.`;
  const address = /^tg:/i.test(link) ? appFault(link) : webFault(link);
  return address === undefined ? undefined : `${name} is not a valid address: ${address}.`;
}

function characterFault(link: string): string | undefined {
  const unseen = UNSEEN.exec(link)?.[0];
  if (unseen !== undefined) return `holds a character that cannot be seen (${shown(unseen)}): type the address again`;
  if (link !== link.trim()) return "begins or ends with a space: remove it";
  if (/\s/.test(link)) return "holds a space: remove it, or write %20";
  return link.includes("\\") ? "holds a backslash: write a slash, or %5C" : undefined;
}

function schemeFault(link: string): string | undefined {
  if (/^(https?:\/\/|tg:)/i.test(link)) return undefined;
  const given = /^([a-z][a-z0-9+-]{0,20}):(?!\d)/i.exec(link)?.[1];
  return `must start with ${SCHEMES}${given === undefined ? "" : `, and not with ${given}: alone`}`;
}

function macroFault(link: string): string | undefined {
  if (!hasMacro(linkOrigin(link))) return undefined;
  return "may hold a macro only behind the link's host, as in https://example.com/?click={click}";
}

function appFault(link: string): string | undefined {
  if (canonicalLink(link) !== undefined) return undefined;
  const host = linkOrigin(link).replace(/^tg:(\/\/)?/i, "");
  if (host === "") return "nothing stands behind tg://, as resolve does in tg://resolve?domain=example";
  if (/[@:]/.test(host)) return "a tg:// link has neither a user nor a port";
  return "behind tg:// stands a word of letters, digits, _ and -, as in tg://resolve?domain=example";
}

function webFault(link: string): string | undefined {
  const authority = linkOrigin(link).replace(/^https?:\/\//i, "");
  const at = authority.lastIndexOf("@");
  const [host, port] = hostAndPort(authority.slice(at + 1));
  return (
    hostFault(host) ??
    portFault(port) ??
    userFault(authority.slice(0, Math.max(0, at))) ??
    dotFault(host) ??
    unreadable(link)
  );
}

function dotFault(host: string): string | undefined {
  if (/[^.]\.[^.]/.test(host)) return undefined;
  return /[^.]\.{2,}[^.]/.test(host)
    ? "its host has dots with nothing between them: write it as in https://example.com/path"
    : "its host must have a dot, as in https://example.com/path";
}

/** The port is undefined where no colon announces one. */
function hostAndPort(text: string): [host: string, port: string | undefined] {
  const colon = text.lastIndexOf(":");
  return text.startsWith("[") || colon < 0 ? [text, undefined] : [text.slice(0, colon), text.slice(colon + 1)];
}

function hostFault(host: string): string | undefined {
  if (host === "") return "it has no host, and a host must have a dot, as in https://example.com/path";
  if (host.startsWith("["))
    return "its host is an IPv6 address: give a name with a dot, as in https://example.com/path";
  const wrong = wrongCharacter(host, HOST);
  return wrong === undefined
    ? undefined
    : `its host holds ${wrong}, which no host may: write it as in https://example.com/path`;
}

function portFault(port: string | undefined): string | undefined {
  if (port === undefined || isPort(port.replace(/^0+(?=.)/, ""))) return undefined;
  if (port === "") return "a colon stands behind its host, and no port: remove the colon, or write a port";
  return "its port is none: behind the colon stands a whole number from 1 to 65535, as in https://example.com:8443/path";
}

function userFault(userinfo: string): string | undefined {
  const wrong = userinfo === "" ? undefined : wrongCharacter(userinfo, USERINFO);
  return wrong === undefined ? undefined : `what stands before its @ holds ${wrong}: remove it, or percent-encode it`;
}

/** Telegram must read it, and so must the browser that it opens: each refuses some that the other takes. */
function unreadable(link: string): string | undefined {
  if (webHost(link) !== undefined && canonicalLink(link) !== undefined && URL.canParse(link)) return undefined;
  return "no browser opens its host: check how it is spelt";
}

/** The first character that a part of an address may not have, as a message shows it. */
function wrongCharacter(part: string, allowed: RegExp): string | undefined {
  if (allowed.test(part)) return undefined;
  const wrong = Array.from(part).find((char) => (char === "%" ? false : !allowed.test(char)));
  // Each alone may stand: what is left is a percent sign without its two digits.
  return shown(wrong ?? "%");
}

function shown(char: string): string {
  const code = char.codePointAt(0)!;
  return code > 0x20 && code < 0x7f ? `"${char}"` : `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}
