/** What NATS_URL says: servers, and the credentials that may stand in front of them. */
import { isIP } from "node:net";

/** One way of saying who we are. */
export type QueueLogin =
  | { readonly kind: "none" }
  | { readonly kind: "password"; readonly user: string; readonly password: string }
  | { readonly kind: "token"; readonly token: string }
  | { readonly kind: "nkey"; readonly seed: string }
  /** `text` as it stands in a credentials file; from `path` it is read again at each connection. */
  | { readonly kind: "creds"; readonly text?: string; readonly path?: string };

export interface QueueServers {
  /** `host:port`, IPv6 addresses in brackets. */
  readonly servers: readonly string[];
  /** A server was written as tls://. */
  readonly tls: boolean;
  readonly login: QueueLogin;
}

const form = /^(?:([a-z]+):\/\/)?(?:([^@]*)@)?(\[[^\]]*\]|[^:/?#]*)(?::([^/?#]*))?\/*([?#/].*)?$/is;

/** @returns what the text says, or everything that is wrong with it, each as the end of a sentence. */
export function parseQueueUrl(text: string): QueueServers | { wrong: string[] } {
  const wrong: string[] = [];
  const entries = text.split(",").map((one) => parseEntry(one.trim(), wrong));
  const logins = new Set(entries.map((entry) => entry?.userInfo).filter((one) => one !== undefined));
  if (logins.size > 1) wrong.push("its servers have different users, and one connection has one");
  const userInfo = [...logins][0];
  const login = userInfo === undefined ? ({ kind: "none" } as const) : parseLogin(userInfo, wrong);
  if (wrong.length > 0) return { wrong: [...new Set(wrong)] };
  return { servers: entries.map((entry) => entry!.server), tls: entries.some((entry) => entry!.tls), login };
}

interface Entry {
  server: string;
  tls: boolean;
  userInfo: string | undefined;
}

function parseEntry(text: string, wrong: string[]): Entry | undefined {
  const match = form.exec(text);
  const [, scheme = "nats", userInfo, host = "", port = "", rest] = match ?? [];
  const problems = [
    match === null || !isHost(host) ? "it has a server that is neither a name nor an address" : undefined,
    /^(nats|tls)$/i.test(scheme) ? undefined : "it has another scheme than nats:// or tls://",
    port === "" || (/^\d{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65_535)
      ? undefined
      : "it has a port that is not a number from 1 to 65535 (in a password, / is written %2F, @ %40, : %3A)",
    rest === undefined ? undefined : "it has a path, a ? or a #, which mean nothing here",
  ].filter((one) => one !== undefined);
  wrong.push(...problems);
  if (problems.length > 0) return undefined;
  return { server: `${host}:${port || "4222"}`, tls: scheme.toLowerCase() === "tls", userInfo };
}

function isHost(host: string): boolean {
  if (host.startsWith("[")) return isIP(host.slice(1, -1)) === 6;
  return /^[\w.-]+$/.test(host);
}

/** `user:password`, or a token alone. */
function parseLogin(userInfo: string, wrong: string[]): QueueLogin {
  const colon = userInfo.indexOf(":");
  const parts = colon < 0 ? [userInfo] : [userInfo.slice(0, colon), userInfo.slice(colon + 1)];
  const [first, second] = parts.map((part) => decode(part, wrong));
  if (first === "") wrong.push("it has an @ with no user before it");
  return second === undefined ? { kind: "token", token: first! } : { kind: "password", user: first!, password: second };
}

function decode(part: string, wrong: string[]): string {
  try {
    return decodeURIComponent(part);
  } catch {
    wrong.push("it has a % that begins no two hex digits in its user or password: % is written %25");
    return "";
  }
}
