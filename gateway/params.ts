/**
 * What a parameter may be: one object per parameter that both reads it and describes it in the API reference, so that the
 * two cannot drift apart. Only form is checked here, digits and the bounds that REST documents; what a value means is
 * checked by the service, for REST and RPC alike.
 */
import { type TSchema, Type } from "@sinclair/typebox";
import type { Form, FormValue } from "./form.ts";
import { type NameRules, namedValues } from "./names.ts";
import { RestError } from "./rest-error.ts";

export interface Param<T> {
  /** For the API reference. */
  readonly schema: TSchema;
  /** For the API reference, where JSON has another type than a form; default: `schema`. */
  readonly jsonSchema?: TSchema;
  /** Whether it takes several values, in any of the ways that names.ts lists. */
  readonly isList?: boolean;
  /** Whether leaving it out is refused. */
  readonly required: boolean;
  /** `value` is undefined where the parameter was left out. Throws RestError `func`, naming the parameter. */
  read(value: FormValue | undefined, name: string): T;
}

export type Params = Readonly<Record<string, Param<unknown>>>;

export type Values<P extends Params> = { readonly [K in keyof P]: P[K] extends Param<infer T> ? T : never };

/**
 * Reads all parameters, in the order in which the endpoint lists them; the first bad one decides the message. Names that
 * the call does not take come before: `ID=5` is told as that, and not as a missing `id`.
 */
export function readParams<P extends Params>(rules: NameRules & { params: P }, form: Form): Values<P> {
  const named = namedValues(rules, form);
  const entries = Object.entries(rules.params).map(([name, param]) => [name, param.read(named.get(name), name)]);
  return Object.fromEntries(entries) as Values<P>;
}

/** Ids and numbers are exact up to here in JSON, and so in every client. */
const maxId = Number.MAX_SAFE_INTEGER;
/** The last second that a protobuf Timestamp holds: the end of the year 9999. */
const maxUnixSeconds = 253_402_300_799;
const maxCampaigns = 1000;
/** Twice the longest text with its formatting that a service takes: more is not handed on only to be refused there. */
const maxTextLength = 32_768;

function invalid(name: string, must: string): RestError {
  return new RestError("func", `${name} ${must}.`);
}

function textOf(value: FormValue | undefined, name: string, must = "a text or a number"): string {
  switch (value?.kind) {
    case "text":
      return value.text;
    case undefined:
      throw invalid(name, "is missing");
    case "repeated":
      throw invalid(name, "is given more than once");
    case "list":
      throw invalid(name, `must be ${must}, not a list`);
    case "file":
      throw invalid(name, `must be ${must}, not a file`);
    case "other":
      throw invalid(name, `must be ${must}, not ${value.what}`);
    default:
      return value satisfies never;
  }
}

const aNumber = "a whole number in digits";

/** Digits and nothing else: no sign, space, exponent, hex or separator, and nothing past 2^53 − 1. */
function wholeNumber(text: string, name: string, minimum: number, maximum: number): number {
  const number = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (number >= minimum && number <= maximum) return number;
  throw invalid(name, `must be a whole number from ${minimum} to ${maximum}, in digits`);
}

/** An id: a positive whole number. */
export function id(description: string): Param<bigint> {
  return {
    schema: Type.Integer({ description, minimum: 1, maximum: maxId, examples: [5] }),
    required: true,
    read: (value, name) => BigInt(wholeNumber(textOf(value, name, aNumber), name, 1, maxId)),
  };
}

/** A whole number in bounds. */
export function integer(description: string, bounds: { minimum: number; maximum: number }): Param<number> {
  return {
    schema: Type.Integer({ description, ...bounds }),
    required: true,
    read: (value, name) => wholeNumber(textOf(value, name, aNumber), name, bounds.minimum, bounds.maximum),
  };
}

/** 0 or 1. */
export function flag(description: string): Param<boolean> {
  const number = integer(description, { minimum: 0, maximum: 1 });
  return { ...number, read: (value, name) => number.read(value, name) === 1 };
}

/** A moment in whole seconds since 1970 (UTC), as the API has it; 0 stands for none. */
export function unixSeconds(description: string): Param<number> {
  return integer(description, { minimum: 0, maximum: maxUnixSeconds });
}

/** Any text without NUL, which Postgres cannot keep, and without half surrogate pairs, which UTF-8 cannot. */
export function text(description: string, documented: { maxLength?: number } = {}): Param<string> {
  return {
    schema: Type.String({ description, ...documented }),
    required: true,
    read: (value, name) => {
      const given = textOf(value, name);
      if (given.length > maxTextLength) throw invalid(name, `must have at most ${maxTextLength} characters`);
      if (given.includes("\0")) throw invalid(name, "holds a NUL character: remove it");
      if (given.isWellFormed()) return given;
      throw invalid(name, "holds half a character: send whole ones, in UTF-8");
    },
  };
}

/** Campaign ids with commas between them, or a list of them in any way that names.ts knows; an empty one is an empty list. */
export function campaignIds(description: string): Param<bigint[]> {
  const ids = Type.Array(Type.Integer({ minimum: 1, maximum: maxId }), { maxItems: maxCampaigns });
  return {
    schema: Type.String({ description, examples: ["12,18"] }),
    jsonSchema: Type.Union([ids, Type.String()], { description, examples: [[12, 18]] }),
    required: true,
    isList: true,
    read: (value, name) => {
      if (value?.kind === "repeated") throw invalid(name, `is given more than once: write ${name}=1,2`);
      const items = value?.kind === "list" ? value.items : itemsOf(textOf(value, name, "a list of ids"));
      if (items.length > maxCampaigns) throw invalid(name, `must hold at most ${maxCampaigns} ids`);
      return items.map((item) => BigInt(wholeNumber(item, `every id in ${name}`, 1, maxId)));
    },
  };
}

function itemsOf(list: string): readonly string[] {
  return list === "" ? [] : list.split(",");
}

/** A file out of a multipart body. */
export function file(description: string): Param<Blob> {
  return {
    schema: Type.String({ description, format: "binary" }),
    required: true,
    read: (value, name) => {
      if (value?.kind === "file") return value.file;
      if (value?.kind === "repeated") throw invalid(name, "is given more than once");
      throw invalid(name, "must be a file in a multipart/form-data body");
    },
  };
}

/** May be left out, and is undefined then. */
export function optional<T>(param: Param<T>): Param<T | undefined> {
  return orElse<T | undefined>(param, undefined);
}

/** May be left out, and is `zero` then. */
export function orElse<T>(param: Param<T>, zero: T): Param<T> {
  return {
    ...param,
    required: false,
    read: (value, name) => (value === undefined ? zero : param.read(value, name)),
  };
}
