/**
 * The parameters of a call, whichever way they came: in a GET's query, or in a POST's body as
 * `application/x-www-form-urlencoded`, JSON or multipart, under the same names.
 *
 * All four end as one thing, a map from names to texts, so that one rule per parameter (params.ts) serves them all. JSON
 * numbers keep the digits they were written with: `1e3`, `5.0` and 2^53 + 1 are told from `1000`, `5` and 2^53 as they
 * would be in a form. A name that comes twice is refused where it is asked for: which of the two was meant is a guess, and
 * a guess between two broadcasts is one too many. (JSON itself takes the last of a repeated key.)
 */
import { readBody } from "./body.ts";
import { RestError } from "./rest-error.ts";

export type FormValue =
  | { readonly kind: "text"; readonly text: string }
  /** A JSON array of texts and numbers. */
  | { readonly kind: "list"; readonly items: readonly string[] }
  /** A part of a multipart body that has a file name. */
  | { readonly kind: "file"; readonly file: Blob }
  /** A JSON value that no parameter takes: an object, true, null, a nested array. */
  | { readonly kind: "other" }
  | { readonly kind: "repeated" };

/** A Map, so that a parameter called `__proto__` is a name like any other. */
export type Form = ReadonlyMap<string, FormValue>;

/**
 * Reads the parameters of a call. A body without a content type is taken for a form; an empty one has no parameters.
 *
 * @throws RestError `func` if the body is too large, of another content type, or broken.
 */
export async function readForm(request: Request, limitBytes: number): Promise<Form> {
  if (request.method !== "POST") return formFromUrlencoded(queryOf(request.url));
  const contentType = request.headers.get("content-type") ?? "";
  const bytes = await readBody(request, limitBytes);
  if (bytes.byteLength === 0) return new Map();
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
    add(form, percentDecoded(name), { kind: "text", text: percentDecoded(value) });
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
  const form = new Map<string, FormValue>();
  for (const [name, member] of Object.entries(value)) add(form, name, formValueFromJson(member));
  return form;
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
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return { kind: "list", items: value };
  return { kind: "other" };
}

async function formFromMultipart(bytes: Uint8Array<ArrayBuffer>, contentType: string): Promise<Form> {
  const form = new Map<string, FormValue>();
  for (const [name, part] of await multipartEntries(bytes, contentType)) {
    add(form, name, typeof part === "string" ? { kind: "text", text: part } : { kind: "file", file: part });
  }
  return form;
}

async function multipartEntries(
  bytes: Uint8Array<ArrayBuffer>,
  contentType: string,
): Promise<Iterable<[string, string | Blob]>> {
  try {
    return (await new Response(bytes, { headers: { "content-type": contentType } }).formData()).entries();
  } catch (cause) {
    throw new RestError("func", "The request body is not valid multipart/form-data.", { cause });
  }
}

function add(form: Map<string, FormValue>, name: string, value: FormValue): void {
  form.set(name, form.has(name) ? { kind: "repeated" } : value);
}
