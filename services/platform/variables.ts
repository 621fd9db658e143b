/** The kinds of variables that processes share: ports, addresses, URLs, service tokens, keys. */
import { createHash } from "node:crypto";
import { isIP } from "node:net";
import { type TInteger, type TUnsafe, Type } from "@sinclair/typebox";
import { parsedVar, parseJson, type Reading, type VariableOptions } from "./config.ts";
import { isPublishedHash, weaknessOfKey, weaknessOfText } from "./secret-strength.ts";

/** A caller as a server knows it, and the RPCs that it may call: `package.Service/Method`, `package.Service/*` or `*`. */
export interface RpcCaller {
  readonly name: string;
  /** SHA-256 of the caller's secret, in hex: what a server does not have cannot be read from it. */
  readonly hash: string;
  readonly allow: readonly string[];
}

/** A named service token with its secret: what its owner sends, and what `npm start` hands out. */
export interface RpcToken {
  readonly name: string;
  readonly secret: string;
  readonly allow: readonly string[];
}

/** An entry of RPC_TOKENS. */
export interface RpcEntry extends RpcCaller {
  /** There where the entry was written with it. */
  readonly secret?: string;
}

/** One AES-256 key of SECRET_KEYS. */
export interface SecretKey {
  readonly id: string;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

/** A TCP port with its default; 0 lets the system pick a free one. */
export function portVar(defaultPort: number): TInteger {
  return Type.Integer({
    minimum: 0,
    maximum: 65_535,
    default: defaultPort,
    description: "a port number from 0 to 65535",
  });
}

/** A TCP port without a default of its own. */
export const optionalPortVar = Type.Optional(
  Type.Integer({ minimum: 0, maximum: 65_535, description: "a port number from 0 to 65535" }),
);

const hostName = /^(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$/;

/** An address or a name to listen on, without brackets: `127.0.0.1`, `0.0.0.0`, `::1`, `::`, `localhost`. */
export function hostVar(defaultHost = "127.0.0.1"): TUnsafe<string> {
  return parsedVar<string>("an address or a name to listen on, such as 127.0.0.1, 0.0.0.0 or ::", parseHost, {
    default: defaultHost,
  });
}

function parseHost(text: string): Reading {
  const host = text.trim().replace(/^\[(.*)\]$/, "$1");
  if (isIP(host) !== 0) return { value: host };
  if (/^[\d.]+$/.test(host) || host.includes(":") || !hostName.test(host)) {
    const hint = /^.+:\d+$/.test(text) ? ": the port has a variable of its own" : "";
    return { wrong: `the value is neither an address nor a name${hint}` };
  }
  return { value: host };
}

/**
 * An absolute HTTP URL, which becomes what every reader can put a path behind: no slash at its end, no query. Without a
 * default it is required; its value is never shown.
 */
export function httpUrlVar(defaultUrl?: string): TUnsafe<string> {
  const options: VariableOptions<string> = defaultUrl === undefined ? {} : { default: defaultUrl };
  return parsedVar<string>("a URL that begins with http:// or https://", parseHttpUrl, options);
}

export function parseHttpUrl(text: string): Reading {
  if (!URL.canParse(text)) return { wrong: "the value is not a URL" };
  const url = new URL(text);
  if (url.protocol !== "http:" && url.protocol !== "https:") return { wrong: "the value has another scheme" };
  // `https:host` and `http:///host` are put right by the parser, and are mistakes all the same.
  if (!/^\s*https?:\/\/[^/]/i.test(text)) return { wrong: "the value has no host after //" };
  if (url.username !== "" || url.password !== "")
    return { wrong: "the value has a user or password, which are not sent" };
  if (text.includes("?") || text.includes("#"))
    return { wrong: "the value has a ? or #, and a path must fit behind it" };
  if (url.port === "0") return { wrong: "the value has port 0, where nothing listens" };
  return { value: `${url.origin}${url.pathname.replace(/\/+$/, "")}` };
}

/** A secret of any form that is not empty. */
export const secretVar = parsedVar<string>("a text that is not empty", (value) => ({ value }), { secret: true });

const tokenName = /^[a-z][a-z0-9-]{0,62}$/;
const allowPattern = /^(\*|[A-Za-z_][\w.]*\/(\*|\w+))$/;
const hashPattern = /^(?:sha256:)?([0-9a-f]{64})$/i;
const minimumSecretLength = 16;
/** What can stand in a header, without a space. */
const secretPattern = /^[!-~]+$/;

function wrongWithSecret(secret: unknown): string | undefined {
  if (typeof secret !== "string" || secret.length < minimumSecretLength) {
    return `has a secret shorter than ${minimumSecretLength} characters`;
  }
  if (!secretPattern.test(secret)) return "has a secret with a space or a character that is not ASCII";
  const weakness = weaknessOfText(secret);
  return weakness === undefined ? undefined : `has a secret that ${weakness}`;
}

function wrongWithHash(hash: unknown): string | undefined {
  const hex = typeof hash === "string" ? hashPattern.exec(hash)?.[1] : undefined;
  if (hex === undefined) return "has a hash that is not a SHA-256 in hex";
  return isPublishedHash(hex.toLowerCase()) ? "has the hash of a placeholder that others know" : undefined;
}

function wrongWithToken(token: unknown): string | undefined {
  if (typeof token !== "object" || token === null) return "is not an object";
  const { name, secret, hash, allow } = token as Record<string, unknown>;
  if (typeof name !== "string" || !tokenName.test(name)) return "has no name of lower-case letters, digits and dashes";
  if (secret !== undefined && hash !== undefined) return "has both a secret and a hash: one of them is enough";
  const wrong = hash === undefined ? wrongWithSecret(secret) : wrongWithHash(hash);
  if (wrong !== undefined) return wrong;
  if (!Array.isArray(allow)) return "has no list of allowed RPCs";
  const valid = allow.every((pattern) => typeof pattern === "string" && allowPattern.test(pattern));
  return valid ? undefined : 'allows something that is not "*", "package.Service/*" or "package.Service/Method"';
}

function parseRpcTokens(text: string): Reading {
  const json = parseJson(text);
  if ("wrong" in json) return json;
  if (!Array.isArray(json.value) || json.value.length === 0) return { wrong: "is not a list with at least one token" };
  for (const [index, token] of json.value.entries()) {
    const wrong = wrongWithToken(token);
    if (wrong !== undefined) return { wrong: `entry ${index + 1} ${wrong}` };
  }
  const entries = (json.value as { name: string; secret?: string; hash?: string; allow: string[] }[]).map(rpcEntry);
  if (new Set(entries.map(({ name }) => name)).size < entries.length) return { wrong: "names a token twice" };
  if (new Set(entries.map(({ hash }) => hash)).size < entries.length) return { wrong: "gives a secret twice" };
  return { value: entries };
}

function rpcEntry({
  name,
  secret,
  hash,
  allow,
}: {
  name: string;
  secret?: string;
  hash?: string;
  allow: string[];
}): RpcEntry {
  if (secret !== undefined) return { name, secret, hash: hashOfSecret(secret), allow };
  return { name, hash: hashPattern.exec(hash!)![1]!.toLowerCase(), allow };
}

/** In hex, as RPC_TOKENS takes it. */
export function hashOfSecret(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

/** RPC_TOKENS: a JSON array of `{name, hash, allow}`, or `{name, secret, allow}`. */
export const rpcTokensVar = parsedVar<readonly RpcEntry[]>(
  'a JSON array like [{"name":"gateway","hash":"(SHA-256 of its secret, in hex)","allow":["package.Service/*"]}]',
  parseRpcTokens,
  { secret: true },
);

/** RPC_TOKEN: the secret that this process shows when it calls another. */
export const rpcTokenVar = parsedVar<string>(
  `a secret of ${minimumSecretLength} random characters or more`,
  (text) => {
    const wrong = wrongWithSecret(text);
    return wrong === undefined ? { value: text } : { wrong };
  },
  { secret: true },
);

interface OwnToken {
  RPC_TOKEN?: string | undefined;
  RPC_TOKENS?: readonly RpcEntry[] | undefined;
}

/** The secret that a process shows: RPC_TOKEN, or that of the entry in RPC_TOKENS that is called like the process. */
function findOwnSecret(process: string, { RPC_TOKEN, RPC_TOKENS }: OwnToken): string | undefined {
  return RPC_TOKEN ?? RPC_TOKENS?.find(({ name }) => name === process)?.secret;
}

/** For `readConfig`: the line that says that there is none. */
export function wrongWithOwnSecret(process: string, config: OwnToken): string[] {
  if (findOwnSecret(process, config) !== undefined) return [];
  return [
    `RPC_TOKEN: is not set, and RPC_TOKENS has no secret of "${process}"; expected the secret that this process shows`,
  ];
}

/** @throws Error where there is none, which the configuration has told before. */
export function ownSecret(process: string, config: OwnToken): string {
  const secret = findOwnSecret(process, config);
  if (secret === undefined) throw new Error(wrongWithOwnSecret(process, config)[0]);
  return secret;
}

const keyEntry = /^([A-Za-z0-9_-]{1,32}):([A-Za-z0-9+/_-]+={0,2})$/;

function parseSecretKeys(text: string): Reading {
  const keys: SecretKey[] = [];
  for (const [index, entry] of text.trim().split(",").entries()) {
    const match = keyEntry.exec(entry.trim());
    if (match === null) return { wrong: `entry ${index + 1} is not id:base64key` };
    const key = Buffer.from(match[2]!, "base64");
    if (key.length !== 32) return { wrong: `entry ${index + 1} has a key of ${key.length} bytes` };
    keys.push({ id: match[1]!, key });
  }
  if (new Set(keys.map((key) => key.id)).size < keys.length) return { wrong: "names a key twice" };
  // Only the first encrypts. A weak one behind it can still be rotated away.
  const weakness = weaknessOfKey(keys[0]!.key);
  return weakness === undefined ? { value: keys } : { wrong: `the first key ${weakness}` };
}

/** SECRET_KEYS: `id:base64key[,id:base64key…]`, keys of 32 bytes; the first encrypts, all decrypt. */
export const secretKeysVar = parsedVar<readonly SecretKey[]>(
  "id:base64key, or several with commas between them, each key of 32 random bytes in base64",
  parseSecretKeys,
  { secret: true },
);
