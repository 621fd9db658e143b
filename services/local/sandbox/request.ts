import { badRequest, type Refusal, tooLarge } from "./refusal.ts";

/** A call's parameters by name: JSON values, text of a form, or the files of a multipart body. */
export type Parameters = Record<string, unknown>;

/** Telegram takes uploads of 50 MB; what is larger than that and its form around it is not even read. */
export const maxBodyBytes = 52 * 1024 * 1024;

/** Parameters from the query and the body, which wins. Refuses a body that is too large or broken. */
export async function parametersFromRequest(request: Request): Promise<{ parameters: Parameters } | Refusal> {
  const query = parametersFromQuery(request.url);
  if (request.method !== "POST") return { parameters: query ?? {} };
  if (Number(request.headers.get("content-length")) > maxBodyBytes) return tooLarge;
  const type = request.headers.get("content-type") ?? "";
  const body = await bodyParameters(request, type);
  if (!body) return badRequest("broken_body", "can't parse the request's body");
  return { parameters: query ? { ...query, ...body } : body };
}

async function bodyParameters(request: Request, type: string): Promise<Parameters | undefined> {
  try {
    if (type.startsWith("application/json")) return asObject(JSON.parse(await request.text()));
    if (type.startsWith("multipart/form-data")) return Object.fromEntries(await request.formData());
    return Object.fromEntries(new URLSearchParams(await request.text()));
  } catch {
    return undefined;
  }
}

function asObject(value: unknown): Parameters | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Parameters) : undefined;
}

function parametersFromQuery(url: string): Parameters | undefined {
  const at = url.indexOf("?");
  return at < 0 ? undefined : Object.fromEntries(new URLSearchParams(url.slice(at + 1)));
}

/** A parameter as text; the empty string when it is missing. */
export function textOf(value: unknown): string {
  return typeof value === "string" ? value : value === undefined || value === null ? "" : String(value);
}

/** Forms carry structured parameters as JSON text. Undefined when missing; null when it is not JSON. */
export function structureOf(value: unknown): unknown {
  if (value === undefined || value === "") return undefined;
  if (typeof value !== "string") return value;
  try {
    return JSON.parse(value);
  } catch {
    return null;
  }
}

export function isTrue(value: unknown): boolean {
  return value === true || ["true", "True", "yes", "t", "1"].includes(textOf(value));
}

/** The chat's number; undefined for a username, of which the sandbox knows none, and for anything else. */
export function chatIdOf(value: unknown): number | undefined {
  const id = typeof value === "number" ? value : typeof value === "string" && value !== "" ? Number(value) : Number.NaN;
  return Number.isSafeInteger(id) && id !== 0 ? id : undefined;
}
