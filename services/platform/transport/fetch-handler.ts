import type { Handler, HttpRequest, HttpResponse } from "./exchange.ts";
import { asterisk, formOfUrl, urlOf } from "./target.ts";

/** An application that works with the types of fetch. */
export type FetchAnswer = (request: Request) => Response | Promise<Response>;

/**
 * `Request` turns `get` into GET, and a method that it does not know too. What is none of these becomes a method that no
 * route of ours has.
 */
const methods = new Set(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
const noMethodOfOurs = "PROPFIND";
const bodiless = new Set(["GET", "OPTIONS"]);

const addresses = new WeakMap<Request, string>();

/** The peer's address of a request that came in on a port. */
export function addressOf(request: Request): string | undefined {
  return addresses.get(request);
}

/**
 * An application that sees one origin whatever a request's URL says (Elysia looks for the path behind the eleventh
 * character, which the shortest hosts do not reach), and that answers HEAD wherever it answers GET.
 */
export function throughOneOrigin(answer: FetchAnswer): (request: Request) => Promise<Response> {
  return async (request) => {
    const url = urlOf(formOfUrl(request.url));
    const sameUrl = request.url === url;
    if (request.method !== "HEAD") return await answer(sameUrl ? request : moved(request, url, request.method));
    return await withoutBody(await answer(moved(request, url, "GET")));
  };
}

function moved(request: Request, url: string, method: string): Request {
  const { headers, signal, body } = request;
  const copy = new Request(url, { method, headers, signal, ...(body === null ? {} : { body }) });
  const address = addresses.get(request);
  if (address !== undefined) addresses.set(copy, address);
  return copy;
}

async function withoutBody(response: Response): Promise<Response> {
  const { status, headers } = response;
  if (isStream(headers)) await response.body?.cancel();
  else headers.set("content-length", String((await response.bytes()).byteLength));
  return new Response(null, { status, headers });
}

/** Serves an application. HEAD is answered as GET; the connection leaves the body out. */
export function fetchHandler(answer: FetchAnswer): Handler {
  return async (request) => {
    if (request.target === asterisk) return { status: 204 };
    const fetched = fetchRequest(request);
    addresses.set(fetched, request.address);
    return await httpResponse(await answer(fetched));
  };
}

function fetchRequest(request: HttpRequest): Request {
  const method = fetchMethod(request.method);
  const { target, header: headers, signal } = request;
  const body = bodiless.has(method) ? undefined : fetchBody(request);
  return new Request(urlOf(target), { method, headers, signal, ...(body === undefined ? {} : { body }) });
}

function fetchMethod(method: string): string {
  if (method === "HEAD") return "GET";
  return methods.has(method) ? method : noMethodOfOurs;
}

function fetchBody({ body, wholeBody }: HttpRequest): ReadableStream<Uint8Array> | Uint8Array<ArrayBuffer> | undefined {
  if (wholeBody !== undefined) return wholeBody.byteLength === 0 ? undefined : wholeBody;
  const iterator = body[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      const { done, value } = await iterator.next();
      if (done === true) controller.close();
      else controller.enqueue(value);
    },
    cancel: async () => {
      await iterator.return?.();
    },
  });
}

/**
 * A body is read whole, because reading one as a stream costs Bun 30 µs; but for event streams, and for a response that
 * asks for it with `transfer-encoding: chunked`, which go out as they come.
 */
async function httpResponse(response: Response): Promise<HttpResponse> {
  const { status, headers: header } = response;
  // The getter of `body` alone makes a stream, so it is not asked before.
  if (isStream(header) && response.body !== null) return { status, header, body: response.body };
  try {
    return { status, header, body: await response.bytes() };
  } catch {
    return { status, header, body: cutOff() };
  }
}

function isStream(header: Headers): boolean {
  return header.has("transfer-encoding") || header.get("content-type")?.startsWith("text/event-stream") === true;
}

/** What fails before its first byte is no answer: the connection is cut. */
function cutOff(): AsyncIterable<Uint8Array> {
  const next = () => Promise.reject(new Error("The body could not be read."));
  return { [Symbol.asyncIterator]: () => ({ next }) };
}
