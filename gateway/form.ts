/**
 * The parameters of a call, whichever way they came: in a GET's query, or in a POST's body as
 * `application/x-www-form-urlencoded`, JSON or multipart, under the same names.
 *
 * All four end as one thing, a map from names to texts, so that one rule per parameter (params.ts) serves them all. JSON
 * numbers keep the digits they were written with: `1e3`, `5.0` and 2^53 + 1 are told from `1000`, `5` and 2^53 as they
 * would be in a form. A name that comes twice is refused where it is asked for: which of the two was meant is a guess, and
 * a guess between two broadcasts is one too many. JSON's own rule, that the last of a repeated key counts, is no exception.
 *
 * Nothing that came is dropped on the way: a name that nobody knows, or a part without a name, may have been meant to
 * narrow what is chosen. What becomes of unknown names is said in names.ts.
 */
import { type BodyLimits, readBody } from "./body.ts";
import { checkFieldCount } from "./form-size.ts";
import { RestError } from "./rest-error.ts";
import { shownName } from "./shown-name.ts";

export type FormValue =
  | { readonly kind: "text"; readonly text: string }
  /** Several values: a JSON array of texts and numbers, or what names.ts gathers from `name[]` and `name[0]`. */
  | { readonly kind: "list"; readonly items: readonly string[] }
  /** A part of a multipart body that has a file name. */
  | { readonly kind: "file"; readonly file: Blob }
  /** A JSON value that no parameter takes, and its kind in words. */
  | { readonly kind: "other"; readonly what: string }
  | { readonly kind: "repeated"; readonly values: readonly FormValue[] };

/** A Map, so that a parameter called `__proto__` is a name like any other. */
export type Form = ReadonlyMap<string, FormValue>;

/**
 * Reads the parameters of a call. A body without a content type is taken for a form; an empty one has no parameters.
 *
 * @throws RestError `func` if the body is too large, of another content type, or broken.
 */
export async function readForm(request: Request, limits: BodyLimits): Promise<Form> {
  if (request.method !== "POST") return formFromUrlencoded(queryOf(request.url));
  const contentType = request.headers.get("content-type") ?? "";
  const bytes = await readBody(request, limits);
  if (bytes.byteLength === 0) return new Map();
  checkFieldCount(contentType, bytes);
  switch (contentType.split(";", 1)[0]!.trim().toLowerCase()) {
    case "":
    case "application/x-www-form-urlencoded":
      return formFromUrlencoded(utf8FromBytes(bytes));
    case "application/json":
      return formFromJson(utf8FromBytes(bytes));
    case "multipart/form-data":
      return formFromMultipart(bytes, contentType);
    default:
      throw new RestError("func", "Send the body as application/x-www-form-urlencoded, JSON or multipart/form-data.");
  }
}

/** The names that stand in a request's query. */
export function queryNames(url: string): ReadonlySet<string> {
  return new Set(formFromUrlencoded(queryOf(url)).keys());
}

function queryOf(url: string): string {
  const start = url.indexOf("?");
  return start < 0 ? "" : url.slice(start + 1).split("#", 1)[0]!;
}

const strictUtf8 = new TextDecoder("utf-8", { fatal: true });

function utf8FromBytes(bytes: Uint8Array): string {
  try {
    return strictUtf8.decode(bytes);
  } catch (cause) {
    throw new RestError("func", "The request body is not valid UTF-8.", { cause });
  }
}

function formFromUrlencoded(text: string): Form {
  const form = new Map<string, FormValue>();
  for (const pair of text.split("&")) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    const name = equals < 0 ? pair : pair.slice(0, equals);
    const value = equals < 0 ? "" : pair.slice(equals + 1);
    addValue(form, percentDecoded(name), { kind: "text", text: percentDecoded(value) });
  }
  return form;
}

/** Stands for bytes that are no text; being no text itself, it is refused where a text is read (params.ts). */
const notText = "\ud800";

/**
 * URLSearchParams would put U+FFFD for bytes that are not UTF-8 and so change what a lead is sent; here they are refused.
 * As with it, a `%` that no two hex digits follow stands for itself.
 */
function percentDecoded(encoded: string): string {
  const spaced = encoded.replaceAll("+", " ");
  if (!spaced.includes("%")) return spaced;
  try {
    return decodeURIComponent(spaced.replaceAll(/%(?![0-9a-f]{2})/gi, "%25"));
  } catch {
    return notText;
  }
}

function formFromJson(text: string): Form {
  const value = jsonFromText(text);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new RestError("func", "The JSON body must be one object with the parameters.");
  }
  refuseRepeatedKeys(text);
  return new Map(Object.entries(value).map(([name, member]) => [name, formValueFromJson(member)]));
}

/** `JSON.parse` keeps only the last of a repeated key: `{"campaigns": [1], "campaigns": []}` would widen to all. */
function refuseRepeatedKeys(json: string): void {
  const seen = new Set<string>();
  for (const key of topLevelKeys(json)) {
    if (seen.has(key)) throw new RestError("func", `${shownName(key)} is given more than once.`);
    seen.add(key);
  }
}

/** Strings, and what opens, closes and parts objects and arrays; numbers and words in between mean nothing here. */
const jsonToken = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],]/g;

/** The keys of an object that is valid JSON, as they were written, repeated ones too. */
function topLevelKeys(json: string): string[] {
  const keys: string[] = [];
  let depth = 0;
  let isKeyNext = false;
  for (const [token] of json.matchAll(jsonToken)) {
    if (token === "{" || token === "[") isKeyNext = ++depth === 1;
    else if (token === "}" || token === "]") depth--;
    else if (token === ",") isKeyNext = depth === 1;
    else if (isKeyNext) {
      keys.push(JSON.parse(token) as string);
      isKeyNext = false;
    }
  }
  return keys;
}

/** The second half of a reviver's third argument in ES2026; TypeScript's library does not know it yet. */
interface ReviverContext {
  readonly source?: string;
}

function jsonFromText(text: string): unknown {
  const keepDigits = (_key: string, value: unknown, context?: ReviverContext): unknown =>
    typeof value === "number" ? (context?.source ?? String(value)) : value;
  try {
    return JSON.parse(text, keepDigits);
  } catch (cause) {
    // Also where it is nested so deep that the parser runs out of stack.
    throw new RestError("func", "The request body is not valid JSON.", { cause });
  }
}

function formValueFromJson(value: unknown): FormValue {
  if (typeof value === "string") return { kind: "text", text: value };
  if (!Array.isArray(value)) return { kind: "other", what: kindInWords(value) };
  if (value.every((item) => typeof item === "string")) return { kind: "list", items: value };
  return { kind: "other", what: "a list of anything but texts and numbers" };
}

function kindInWords(value: unknown): string {
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

async function formFromMultipart(bytes: Uint8Array<ArrayBuffer>, contentType: string): Promise<Form> {
  const form = new Map<string, FormValue>();
  for (const [name, part] of await multipartEntries(bytes, contentType)) {
    addValue(form, name, typeof part === "string" ? { kind: "text", text: part } : { kind: "file", file: part });
  }
  return form;
}

async function multipartEntries(
  bytes: Uint8Array<ArrayBuffer>,
  contentType: string,
): Promise<[string, string | Blob][]> {
  const entries = await parsedMultipart(bytes, contentType);
  // The parser leaves out a part whose name it cannot read, `name*=UTF-8''campaigns` for one.
  if (entries.length !== partCount(bytes, contentType)) throw partWithoutName();
  // It puts U+FFFD for bytes that are no text. Files may hold any bytes, and texts beside a file are not looked at.
  if (!entries.some(([, value]) => typeof value !== "string")) utf8FromBytes(bytes);
  return entries;
}

export function partWithoutName(): RestError {
  return new RestError("func", 'Every part of a multipart body needs Content-Disposition: form-data; name="…".');
}

async function parsedMultipart(
  bytes: Uint8Array<ArrayBuffer>,
  contentType: string,
): Promise<[string, string | Blob][]> {
  try {
    return [...(await new Response(bytes, { headers: { "content-type": contentType } }).formData()).entries()];
  } catch (cause) {
    throw new RestError("func", "The request body is not valid multipart/form-data.", { cause });
  }
}

/** How many parts there are, by the boundaries in front of them; the one that ends the body has two dashes behind it. */
function partCount(bytes: Uint8Array<ArrayBuffer>, contentType: string): number {
  const boundary = /;\s*boundary=(?:"([^"]*)"|([^;\s]*))/i.exec(contentType)?.slice(1).find(Boolean) ?? "";
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const delimiter = Buffer.from(`--${boundary}`);
  let count = 0;
  for (let at = buffer.indexOf(delimiter); at >= 0; at = buffer.indexOf(delimiter, at + delimiter.length)) {
    const opensLine = at === 0 || buffer[at - 1] === lineFeed;
    const ends = buffer.toString("latin1", at + delimiter.length, at + delimiter.length + 2) === "--";
    if (opensLine && !ends) count += 1;
  }
  return count;
}

const lineFeed = 0x0a;

/** Puts a value under its name, beside what stands there already. */
export function addValue(form: Map<string, FormValue>, name: string, value: FormValue): void {
  const before = form.get(name);
  if (before === undefined) form.set(name, value);
  else if (before.kind === "repeated") (before.values as FormValue[]).push(value);
  else form.set(name, { kind: "repeated", values: [before, value] });
}
