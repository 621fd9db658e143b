import { Kind, OptionalKind, type Static, type TObject, type TSchema, type TUnsafe, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { misspelt } from "./config-names.ts";
import { readSecretFile } from "./secret-file.ts";

/** The configuration cannot be used. `problems` has one line per variable; no line holds a variable's secret value. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";

  constructor(
    readonly problems: readonly string[],
    options: { cause?: unknown } = {},
  ) {
    super(problems.join("\n"), options);
  }
}

/** Outcome of reading one variable: its value, or what is wrong with it. */
export type Reading = { value: unknown } | { wrong: string };
export type ParseText = (text: string) => Reading;
type Environment = Record<string, string | undefined>;

/** Schemas of this module carry their own parser under this name, beside TypeBox's own keywords. */
const parseKeyword = "parseText";
/** Set on a schema whose variable holds a secret: NAME_FILE may stand in its place. */
const secretKeyword = "isSecret";

const nothing = Symbol("no value");

/**
 * What several variables have to do with each other: one line for each thing that is wrong. A variable may be missing;
 * `refused` has the names of those that were told already.
 */
export type Together<T extends TObject> = (
  config: Partial<Static<T>>,
  refused: ReadonlySet<string>,
) => readonly string[];

/**
 * Reads the environment once against a TypeBox object schema and returns a frozen object.
 *
 * Values arrive as text and are converted: integers and numbers (decimal digits only), booleans (true/false, 1/0,
 * yes/no, on/off), arrays and objects (JSON). An empty value counts as unset; an unset variable takes the schema's
 * default, or is left out when the schema is optional. A secret may stand in a file that NAME_FILE names.
 *
 * @throws ConfigError that names every bad or missing variable together.
 */
export function readConfig<T extends TObject>(
  schema: T,
  env: Environment = process.env,
  together: Together<T> = () => [],
): Readonly<Static<T>> {
  const problems: string[] = [];
  const refused = new Set<string>();
  const config: Record<string, unknown> = {};
  for (const [name, property] of Object.entries<TSchema>(schema.properties)) {
    const reading = readVariable(name, property, env);
    if ("wrong" in reading) {
      refused.add(name);
      problems.push(problemLine(name, property, reading.wrong));
    } else if (reading.value !== nothing) config[name] = reading.value;
  }
  problems.push(...misspelt(Object.keys(schema.properties), env));
  problems.push(...together(config as Partial<Static<T>>, refused));
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze(config) as Readonly<Static<T>>;
}

function readVariable(name: string, schema: TSchema, env: Environment): Reading {
  const text = textOf(name, schema, env);
  if ("wrong" in text) return text;
  return text.value === undefined ? readUnset(schema) : readText(schema, text.value);
}

/** The variable's text from wherever it stands; undefined where it is unset. */
function textOf(name: string, schema: TSchema, env: Environment): { value: string | undefined } | { wrong: string } {
  const own = env[name] || undefined;
  const path = schema[secretKeyword] === true ? env[`${name}_FILE`] || undefined : undefined;
  if (path === undefined) return { value: own };
  if (own !== undefined) return { wrong: `is set, and so is ${name}_FILE: only one of them can count` };
  const content = readSecretFile(path);
  return "wrong" in content ? { wrong: `${name}_FILE names a file that ${content.wrong}` } : content;
}

function readText(schema: TSchema, text: string): Reading {
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
        : { wrong: `${shown(schema, text)} is not an integer${orServiceLink(text)}` };
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

/** Kubernetes sets ACCOUNT_PORT=tcp://10.0.0.1:7001 for a service that is called account. */
function orServiceLink(text: string): string {
  return text.startsWith("tcp://") ? " but a Kubernetes service link (set enableServiceLinks: false)" : "";
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

export interface VariableOptions<T> {
  /** Its value is a secret, or may hold one: NAME_FILE may stand in its place. */
  secret?: boolean;
  /** The value of an unset variable. */
  default?: T;
}

/** A schema for a variable whose text needs a parser of its own; the parser's answer is the value. */
export function parsedVar<T>(description: string, parse: ParseText, options: VariableOptions<T> = {}): TUnsafe<T> {
  const fallback = options.default === undefined ? {} : { default: options.default };
  return Type.Unsafe<T>({ [parseKeyword]: parse, [secretKeyword]: options.secret ?? false, description, ...fallback });
}

/** Whether NAME_FILE may stand in the place of this schema's variable. */
export function isSecret(schema: TSchema): boolean {
  return schema[secretKeyword] === true;
}
