/**
 * What a DATABASE_URL says, in libpq's sense. The driver passes every parameter that it does not know to Postgres as a
 * setting, which then refuses the connection in words about something else: so each is understood here, or named.
 */
import { isIP } from "node:net";
import { userInfo } from "node:os";
import { decodePart, parseParameters, type UrlParameters } from "./url-parameters.ts";

export interface DatabaseTarget {
  /** Names or addresses without brackets; or one folder with a socket. Several are tried in their order. */
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  /** As with libpq, the system's user where none is named. */
  readonly user: string;
  /** Empty where there is none. */
  readonly password: string;
  readonly database: string;
  readonly parameters: UrlParameters;
}

const scheme = /^postgres(?:ql)?:\/\//i;
/** user[:password]@hosts/database?parameters. The last @ before the path ends the password. */
const form = /^(?:([^/?#]*)@)?([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?(#.*)?$/s;

/** @returns what the URL says, or everything that is wrong with it, each as the end of a sentence. */
export function parseDatabaseUrl(text: string): DatabaseTarget | { wrong: string[] } {
  const url = text.trim();
  if (!scheme.test(url)) return { wrong: ["the value has another scheme"] };
  const match = form.exec(url.replace(scheme, ""));
  if (match === null) return { wrong: ["the value is not a URL"] };
  const [, login = "", authority = "", path = "", query = "", fragment] = match;
  const wrong: string[] = [];
  if (fragment !== undefined) wrong.push("the value has a #: in a password it is written %23");
  const parameters = parseParameters(query, wrong);
  const [user, password] = parseUser(login, parameters, wrong);
  const hosts = parseHosts(parameters.given.host ?? authority, parameters, wrong);
  const database = parameters.given.dbname ?? decode(path, "database", wrong) ?? "";
  if (wrong.length > 0) return { wrong };
  const name = user || (process.env.PGUSER ?? userInfo().username);
  return { hosts, user: name, password, database: database || name, parameters };
}

function decode(part: string, what: string, wrong: string[]): string | undefined {
  const decoded = decodePart(part);
  if (decoded === undefined) wrong.push(`the ${what} has a % that begins no two hex digits: % is written %25`);
  return decoded;
}

function parseUser(login: string, { given }: UrlParameters, wrong: string[]): [user: string, password: string] {
  const colon = login.indexOf(":");
  const user = colon < 0 ? login : login.slice(0, colon);
  const password = colon < 0 ? "" : login.slice(colon + 1);
  return [given.user ?? decode(user, "user", wrong) ?? "", given.password ?? decode(password, "password", wrong) ?? ""];
}

type Host = DatabaseTarget["hosts"][number];

function parseHosts(list: string, { given }: UrlParameters, wrong: string[]): Host[] {
  if (list === "") {
    wrong.push("the value names no host");
    return [];
  }
  const ports = (given.port ?? "").split(",");
  const entries = splitHosts(list);
  const hosts = entries.map((entry, i) => parseHost(entry, ports[ports.length === 1 ? 0 : i] ?? "", wrong));
  if (hosts.some((one) => one === undefined)) return [];
  const folders = hosts.filter((one) => one!.host.startsWith("/"));
  if (folders.length > 0 && hosts.length > 1) wrong.push("the value mixes a socket's folder with other hosts");
  return hosts as Host[];
}

function splitHosts(list: string): string[] {
  return list.split(",").map((one) => one.trim());
}

function parseHost(entry: string, ownPort: string, wrong: string[]): Host | undefined {
  const decoded = decode(entry, "host", wrong);
  if (decoded === undefined) return undefined;
  if (decoded.startsWith("/")) return withPort(decoded, ownPort, wrong);
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::(.*))?$/s.exec(decoded);
  if (match === null && isIP(decoded) === 6) return withPort(decoded, ownPort, wrong);
  const host = match?.[1] ?? match?.[2] ?? "";
  const bracketed = match?.[1] !== undefined;
  if (host === "" || (bracketed ? isIP(host) !== 6 : !/^[\w.-]+$/.test(host))) {
    wrong.push("the value has a host that is neither a name nor an address (an IPv6 address stands in brackets)");
    return undefined;
  }
  return withPort(host, match?.[3] || ownPort, wrong);
}

function withPort(host: string, text: string, wrong: string[]): Host | undefined {
  const port = text === "" ? 5432 : Number(text);
  if (/^\d{0,5}$/.test(text) && port >= 1 && port <= 65_535) return { host, port };
  wrong.push(
    "the value has a port that is not a number from 1 to 65535 (in a password, / is written %2F, @ %40, : %3A)",
  );
  return undefined;
}
