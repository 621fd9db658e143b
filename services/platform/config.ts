import {
  Kind,
  OptionalKind,
  type Static,
  type TInteger,
  type TObject,
  type TSchema,
  type TString,
  type TUnsafe,
  Type,
} from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

/** The configuration cannot be used. `problems` has one line per variable; no line holds a variable's secret value. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";

  constructor(readonly problems: readonly string[]) {
    super(problems.join("\n"));
  }
}

/** A named service token and the RPCs that it may call: `package.Service/Method`, `package.Service/*` or `*`. */
export interface RpcToken {
  readonly name: string;
  readonly secret: string;
  readonly allow: readonly string[];
}

/** One AES-256 key of SECRET_KEYS. */
export interface SecretKey {
  readonly id: string;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

/** Outcome of reading one variable: its value, or what is wrong with it. */
export type Reading = { value: unknown } | { wrong: string };
type ParseText = (text: string) => Reading;

/** Schemas of this module carry their own parser under this name, beside TypeBox's own keywords. */
const parseKeyword = "parseText";

const nothing = Symbol("no value");

/**
 * Reads the environment once against a TypeBox object schema and returns a frozen object.
 *
 * Values arrive as text and are converted: integers and numbers (decimal digits only), booleans (true/false, 1/0,
 * yes/no, on/off), arrays and objects (JSON). An empty value counts as unset; an unset variable takes the schema's
 * default, or is left out when the schema is optional.
 *
 * @throws ConfigError that names every bad or missing variable together.
 */
export function readConfig<T extends TObject>(
  schema: T,
  env: Record<string, string | undefined> = process.env,
): Readonly<Static<T>> {
  const problems: string[] = [];
  const config: Record<string, unknown> = {};
  for (const [name, property] of Object.entries<TSchema>(schema.properties)) {
    const reading = readVariable(property, env[name]);
    if ("wrong" in reading) problems.push(problemLine(name, property, reading.wrong));
    else if (reading.value !== nothing) config[name] = reading.value;
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze(config) as Readonly<Static<T>>;
}

function readVariable(schema: TSchema, text: string | undefined): Reading {
  if (text === undefined || text === "") return readUnset(schema);
  const parse: ParseText = schema[parseKeyword] ?? ((value: string) => convert(schema, value));
  const reading = parse(text);
  if ("wrong" in reading || schema[parseKeyword] !== undefined) return reading;
  const error = Value.Errors(schema, reading.value).First();
  return error === undefined ? reading : { wrong: `${shown(schema, text)} is not accepted (${error.message})` };
}

function readUnset(schema: TSchema): Reading {
  if (schema.default !== undefined) return { value: schema.default };
  return OptionalKind in schema ? { value: nothing } : { wrong: "is not set" };
}

const booleans: Record<string, boolean> = {
  true: true,
  "1": true,
  yes: true,
  on: true,
  false: false,
  "0": false,
  no: false,
  off: false,
};

function convert(schema: TSchema, text: string): Reading {
  switch (schema[Kind]) {
    case "Integer":
      return /^-?\d{1,15}$/.test(text)
        ? { value: Number(text) }
        : { wrong: `${shown(schema, text)} is not an integer` };
    case "Number":
      return /^-?\d+(\.\d+)?$/.test(text)
        ? { value: Number(text) }
        : { wrong: `${shown(schema, text)} is not a number` };
    case "Boolean": {
      const value = booleans[text.toLowerCase()];
      return value === undefined ? { wrong: `${shown(schema, text)} is neither true nor false` } : { value };
    }
    case "Array":
    case "Object":
      return parseJson(text);
    default:
      return { value: text };
  }
}

/** For values that are JSON; the answer never quotes the text, which may be a secret. */
export function parseJson(text: string): Reading {
  try {
    return { value: JSON.parse(text) };
  } catch {
    // The parser's own message quotes the text, which may be a secret.
    return { wrong: "is not valid JSON" };
  }
}

/** Only values that cannot hold a secret are shown: a URL may hold a password, a text may be a token. */
function shown(schema: TSchema, text: string): string {
  const harmless = ["Integer", "Number", "Boolean"].includes(schema[Kind]);
  return harmless && text.length <= 24 ? JSON.stringify(text) : "the value";
}

function problemLine(name: string, schema: TSchema, wrong: string): string {
  const expected = schema.description ?? expectedFromKind(schema);
  return `${name}: ${wrong}; expected ${expected}`;
}

function expectedFromKind(schema: TSchema): string {
  const between = [
    schema.minimum === undefined ? "" : ` from ${schema.minimum}`,
    schema.maximum === undefined ? "" : ` to ${schema.maximum}`,
  ].join("");
  switch (schema[Kind]) {
    case "Integer":
      return `an integer${between}`;
    case "Number":
      return `a number${between}`;
    case "Boolean":
      return "true or false";
    case "Array":
      return "a JSON array";
    case "Object":
      return "a JSON object";
    case "Union": {
      const values: string[] = schema.anyOf.map((member: TSchema) => String(member.const));
      return `one of ${values.join(", ")}`;
    }
    default:
      return "a text that is not empty";
  }
}

/** A schema for a variable whose text needs a parser of its own; the parser's answer is the value. */
export function parsedVar<T>(description: string, parse: ParseText, defaultValue?: T): TUnsafe<T> {
  const unset = defaultValue === undefined ? {} : { default: defaultValue };
  return Type.Unsafe<T>({ [parseKeyword]: parse, description, ...unset });
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

/** An absolute URL, kept exactly as written. Without a default it is required; its value is never shown. */
export function urlVar(defaultUrl?: string, protocols?: readonly string[]): TString {
  const schemes = protocols?.map((protocol) => `${protocol}://`).join(" or ");
  const description = schemes === undefined ? "an absolute URL" : `a URL that begins with ${schemes}`;
  const parse: ParseText = (text) => {
    if (!URL.canParse(text)) return { wrong: "the value is not a URL" };
    const accepted = protocols === undefined || protocols.includes(new URL(text).protocol.slice(0, -1));
    return accepted ? { value: text } : { wrong: "the value has another scheme" };
  };
  return Type.String({
    [parseKeyword]: parse,
    description,
    ...(defaultUrl === undefined ? {} : { default: defaultUrl }),
  });
}

const tokenName = /^[a-z][a-z0-9-]{0,62}$/;
const allowPattern = /^(\*|[A-Za-z_][\w.]*\/(\*|\w+))$/;
const minimumSecretLength = 16;

function wrongWithToken(token: unknown): string | undefined {
  if (typeof token !== "object" || token === null) return "is not an object";
  const { name, secret, allow } = token as Record<string, unknown>;
  if (typeof name !== "string" || !tokenName.test(name)) return "has no name of lower-case letters, digits and dashes";
  if (typeof secret !== "string" || secret.length < minimumSecretLength) {
    return `has a secret shorter than ${minimumSecretLength} characters`;
  }
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
  const tokens = json.value as RpcToken[];
  if (new Set(tokens.map((token) => token.name)).size < tokens.length) return { wrong: "names a token twice" };
  if (new Set(tokens.map((token) => token.secret)).size < tokens.length) return { wrong: "gives a secret twice" };
  return { value: tokens.map(({ name, secret, allow }) => ({ name, secret, allow })) };
}

/** RPC_TOKENS: a JSON array of `{name, secret, allow}`. */
export const rpcTokensVar = parsedVar<readonly RpcToken[]>(
  'a JSON array like [{"name":"gateway","secret":"(at least 16 characters)","allow":["package.Service/*"]}]',
  parseRpcTokens,
);

const keyEntry = /^([A-Za-z0-9_-]{1,32}):([A-Za-z0-9+/_-]+={0,2})$/;

function parseSecretKeys(text: string): Reading {
  const keys: SecretKey[] = [];
  for (const [index, entry] of text.split(",").entries()) {
    const match = keyEntry.exec(entry.trim());
    if (match === null) return { wrong: `entry ${index + 1} is not id:base64key` };
    const key = Buffer.from(match[2]!, "base64");
    if (key.length !== 32) return { wrong: `entry ${index + 1} has a key of ${key.length} bytes` };
    keys.push({ id: match[1]!, key });
  }
  if (new Set(keys.map((key) => key.id)).size < keys.length) return { wrong: "names a key twice" };
  return { value: keys };
}

/** SECRET_KEYS: `id:base64key[,id:base64key…]`, keys of 32 bytes; the first encrypts, all decrypt. */
export const secretKeysVar = parsedVar<readonly SecretKey[]>(
  "id:base64key, or several with commas between them, each key of 32 bytes in base64",
  parseSecretKeys,
);
