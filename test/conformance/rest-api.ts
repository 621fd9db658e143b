import type { Gateway } from "../../gateway/app.ts";
import { type RestCode, restCodes } from "../../gateway/rest-error.ts";
import { Api, type CallName, type Fields, type Outcome } from "./api.ts";

export interface Envelope {
  status: "ok" | "error";
  error?: RestCode;
  message?: string;
  data?: unknown;
}

/** The calls as a dashboard makes them: GET with a query, POST with a form, uploads as multipart. */
export function createRestApi(gateway: Gateway, session: string): Api {
  return new Api("REST", async (name, fields) => {
    const reply = await gateway.handle(requestOf(name, fields, session));
    return outcomeOf(await envelopeOf(reply));
  });
}

/** Reads a reply and checks that it is nothing but a documented envelope. */
export async function envelopeOf(reply: Response): Promise<Envelope> {
  const text = await reply.text();
  if (reply.status !== 200) throw new Error(`HTTP ${reply.status}: ${text}`);
  const body = JSON.parse(text) as Envelope;
  const problem = envelopeProblem(body);
  if (problem) throw new Error(`${problem}: ${text}`);
  return body;
}

export function envelopeProblem(body: Envelope): string | undefined {
  const keys = Object.keys(body).sort().join();
  if (body.status === "ok") return keys === "status" || keys === "data,status" ? undefined : "unknown fields";
  if (body.status !== "error" || keys !== "error,message,status") return "no envelope";
  if (!Object.hasOwn(restCodes, body.error ?? "")) return "a code that is not documented";
  return typeof body.message === "string" && body.message !== "" ? undefined : "no message";
}

function outcomeOf(body: Envelope): Outcome {
  return body.status === "ok" ? { data: body.data } : { code: body.error!, message: body.message! };
}

export function requestOf(name: CallName, fields: Fields, session: string): Request {
  const [method, path] = name.split(" ") as [string, string];
  const url = `http://localhost/api/${path}.json`;
  const headers = { authorization: `Bearer ${session}` };
  if (Object.values(fields).some((value) => value instanceof Uint8Array)) {
    return new Request(url, { method, headers, body: multipartOf(fields) });
  }
  const form = new URLSearchParams(
    Object.entries(fields).map(([key, value]): [string, string] => [key, String(value)]),
  );
  if (method === "GET") return new Request(`${url}?${form}`, { headers });
  return new Request(url, { method, headers, body: form });
}

function multipartOf(fields: Fields): FormData {
  const form = new FormData();
  for (const [key, value] of Object.entries(fields)) {
    if (value instanceof Uint8Array) form.set(key, new Blob([value]), "file");
    else form.set(key, String(value));
  }
  return form;
}
