import { DomainError } from "#services/platform/domain-error.ts";
import { type ControlCall, controlParameters, controlPrefix, type SandboxControl } from "./control.ts";
import { structureOf } from "./request.ts";
import { invalid } from "./settings.ts";

const numbers = new Set(["bot", "chat", "count", "id", "messageId"]);

/** Where a sandbox listens: the Bot API, and the address for controls that `listen(false)` leaves open. */
export interface Addresses {
  url: string;
  controlUrl: string;
}

/**
 * Controls over HTTP: POST with a JSON object of the call's parameters, or GET with them in the query. Answers the
 * call's result as JSON (`null` when it has none), or 400, 404 or 409 with `{"error": …}`.
 */
export function createControlRoutes(control: SandboxControl, addresses: () => Addresses) {
  return async function answer(request: Request, isControlListener: boolean): Promise<Response> {
    const url = new URL(request.url);
    const name = url.pathname.slice(controlPrefix.length);
    if (name === "address") return Response.json(addresses());
    if (name === "export.jsonl") return exported(control);
    if (!isControlCall(name)) return failure(404, `There is no control ${name}.`);
    if (name === "listen" && !isControlListener) {
      return failure(409, `Ask ${addresses().controlUrl}${controlPrefix}listen: this address may stop listening.`);
    }
    try {
      const given = request.method === "POST" ? await bodyOf(request) : Object.fromEntries(url.searchParams);
      const call = control[name] as (...values: unknown[]) => Promise<unknown>;
      return Response.json(
        (await call(...controlParameters[name].map((parameter) => givenValue(given, parameter)))) ?? null,
      );
    } catch (error) {
      if (error instanceof DomainError) return failure(400, error.message);
      throw error;
    }
  };
}

async function exported(control: SandboxControl): Promise<Response> {
  return new Response(await control.exportLines(), { headers: { "content-type": "application/jsonl" } });
}

function isControlCall(name: string): name is ControlCall {
  return Object.hasOwn(controlParameters, name);
}

async function bodyOf(request: Request): Promise<Record<string, unknown>> {
  const text = await request.text();
  if (text === "") return {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // Told below, with what is no object.
  }
  throw invalid("The body is a JSON object of the call's parameters.", "body");
}

/** Values of a query are text, so numbers, booleans and objects are read out of it as JSON. */
function givenValue(given: Record<string, unknown>, parameter: string): unknown {
  const name = parameter.replace("?", "");
  const value = given[name];
  if (value === undefined || value === null) {
    if (parameter.endsWith("?")) return undefined;
    throw invalid(`${name} is missing.`, name);
  }
  if (numbers.has(name)) return wholeNumber(name, value);
  if (name === "on") return value === true || value === "true";
  if (name === "token" || name === "data") return String(value);
  const structure = structureOf(value);
  if (typeof structure === "object" && structure !== null) return structure;
  throw invalid(`${name} is a JSON object.`, name);
}

function wholeNumber(name: string, value: unknown): number {
  const number = typeof value === "string" && value !== "" ? Number(value) : value;
  if (typeof number === "number" && Number.isSafeInteger(number)) return number;
  throw invalid(`${name} is a whole number.`, name);
}

function failure(status: number, error: string): Response {
  return Response.json({ error }, { status });
}
