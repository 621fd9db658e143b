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
 * call's result as JSON (`null` when it has none), or 400, 404, 405 or 409 with `{"error": …}`. A name that the call does
 * not take is refused.
 */
export function createControlRoutes(control: SandboxControl, addresses: () => Addresses) {
  return async function answer(request: Request, isControlListener: boolean): Promise<Response> {
    const name = new URL(request.url).pathname.slice(controlPrefix.length);
    if (!isControlCall(name) && !Object.hasOwn(reads, name)) return failure(404, `There is no control ${name}.`);
    if (!["GET", "HEAD", "POST"].includes(request.method)) return failure(405, "Controls are called by GET or POST.");
    if (name === "listen" && !isControlListener) {
      return failure(409, `Ask ${addresses().controlUrl}${controlPrefix}listen: this address may stop listening.`);
    }
    try {
      const given = await givenNames(request);
      if (!isControlCall(name)) return await read(name, given);
      const call = control[name] as (...values: unknown[]) => Promise<unknown>;
      return Response.json((await call(...valuesOf(name, given))) ?? null);
    } catch (error) {
      if (error instanceof DomainError) return failure(400, error.message);
      throw error;
    }
  };

  async function read(name: string, given: Record<string, unknown>): Promise<Response> {
    refuseUnknown(name, given, []);
    return name === "address" ? Response.json(addresses()) : await exported(control);
  }
}

/** What is read by an address of its own and takes nothing. */
const reads = { address: true, "export.jsonl": true };

async function givenNames(request: Request): Promise<Record<string, unknown>> {
  const query = [...new URL(request.url).searchParams];
  if (request.method === "POST") {
    if (query.length > 0) throw invalid("A POST takes its parameters in the body, not in the query.", "query");
    return await bodyOf(request);
  }
  const given = Object.fromEntries(query);
  const twice = query.map(([name]) => name).find((name, at, names) => names.indexOf(name) !== at);
  if (twice !== undefined) throw invalid(`${twice} is given twice.`, twice);
  return given;
}

function valuesOf(name: ControlCall, given: Record<string, unknown>): unknown[] {
  const parameters: readonly string[] = controlParameters[name];
  refuseUnknown(name, given, parameters);
  return parameters.map((parameter) => givenValue(given, parameter));
}

function refuseUnknown(name: string, given: Record<string, unknown>, parameters: readonly string[]): void {
  const known = parameters.map((parameter) => parameter.replace("?", ""));
  const unknown = Object.keys(given).find((key) => !known.includes(key));
  if (unknown === undefined) return;
  const taken = known.length === 0 ? "takes nothing" : `takes ${known.join(", ")}`;
  const filter = known.includes("query") ? ` A filter stands in query, like {"query":{"chat":5}}.` : "";
  throw invalid(`${name} does not know ${unknown}: it ${taken}.${filter}`, unknown);
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
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Told below, with what is no object.
  }
  throw invalid("The body is a JSON object of the call's parameters.", "body");
}

/** Values of a query are text, so numbers, booleans and objects are read out of it as JSON. */
function givenValue(given: Record<string, unknown>, parameter: string): unknown {
  const name = parameter.replace("?", "");
  const value = given[name];
  if (value === undefined) {
    if (parameter.endsWith("?")) return undefined;
    throw invalid(`${name} is missing.`, name);
  }
  // Taken for "left out" it would choose everything.
  if (value === null) throw invalid(`${name} is null: give a value, or leave it out.`, name);
  if (numbers.has(name)) return wholeNumber(name, value);
  if (name === "on") return yesOrNo(name, value);
  if (name === "token" || name === "data") return textValue(name, value);
  const structure = structureOf(value);
  if (typeof structure === "object" && structure !== null && !Array.isArray(structure)) return structure;
  throw invalid(`${name} is a JSON object.`, name);
}

function wholeNumber(name: string, value: unknown): number {
  const number = typeof value === "string" && value !== "" ? Number(value) : value;
  if (typeof number === "number" && Number.isSafeInteger(number)) return number;
  throw invalid(`${name} is a whole number.`, name);
}

function yesOrNo(name: string, value: unknown): boolean {
  if (value === true || value === "true") return true;
  if (value === false || value === "false") return false;
  throw invalid(`${name} is true or false.`, name);
}

function textValue(name: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw invalid(`${name} is a text.`, name);
}

function failure(status: number, error: string): Response {
  return Response.json({ error }, { status });
}
