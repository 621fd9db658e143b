import { Code, ConnectError, type ConnectRouter, cors, createContextValues } from "@connectrpc/connect";
import { readAllBytes, type UniversalHandler } from "@connectrpc/connect/protocol";
import { traceHeaders } from "#services/platform/trace-headers.ts";
import {
  BodyBroken,
  type Handler,
  type HttpRequest,
  type HttpResponse,
} from "#services/platform/transport/exchange.ts";
import { asterisk, pathOf, urlOf } from "#services/platform/transport/target.ts";
import { currentScope, type RequestScope, requestIdFrom, requestIdHeader, withScope } from "./context.ts";
import { capDeadline } from "./deadline.ts";
import type { InFlight } from "./in-flight.ts";

export interface DispatchOptions {
  router: ConnectRouter;
  inFlight: InFlight;
  isReady: () => Promise<boolean>;
  /** The longest deadline of a unary call, in milliseconds. */
  maxTimeoutMs: number;
  /** Called before the refusal of a wrong service token goes out. */
  guardToken: (address: string, signal: AbortSignal) => Promise<void>;
  /** Aborted when the server begins to stop: ends streams, which would not end by themselves, and refuses new calls. */
  stopping: AbortSignal;
}

/** Types of calls that may stream; unary Connect calls have plain ones. */
const streamingType = /^application\/(connect\+|grpc)/;

/** Routes RPCs, GET /healthz and CORS preflights; everything else is a 404. HEAD is answered as GET. */
export function createDispatch(options: DispatchOptions): Handler {
  const handlers = new Map(options.router.handlers.map((handler) => [handler.requestPath, handler]));
  return (request) => {
    const requestId = requestIdFrom(request.header.get(requestIdHeader));
    return withScope({ requestId, peer: request.address }, async () => {
      const path = pathOf(request.target);
      const handler = handlers.get(path);
      const response =
        handler === undefined ? await answerPlain(options, request, path) : await answerRpc(options, handler, request);
      if (currentScope()?.tokenRefused) await options.guardToken(request.address, request.signal);
      return withCommonHeaders(response, request, requestId);
    });
  };
}

async function answerPlain(
  { isReady, stopping }: DispatchOptions,
  { method }: HttpRequest,
  path: string,
): Promise<HttpResponse> {
  const isRead = method === "GET" || method === "HEAD";
  if (isRead && path === "/healthz") {
    const ready = !stopping.aborted && (await isReady());
    return textResponse(ready ? 200 : 503, "application/json", JSON.stringify({ ready }));
  }
  if (path === asterisk) return { status: 204 };
  return textResponse(404, "text/plain; charset=utf-8", "There is nothing at this path.\n");
}

function textResponse(status: number, contentType: string, text: string): HttpResponse {
  const body = new TextEncoder().encode(text);
  const header = new Headers({ "content-type": contentType, "content-length": String(body.byteLength) });
  return { status, header, body };
}

async function answerRpc(
  { inFlight, maxTimeoutMs, stopping }: DispatchOptions,
  handler: UniversalHandler,
  request: HttpRequest,
): Promise<HttpResponse> {
  if (request.method === "OPTIONS") return { status: 204, header: preflightHeader() };
  if (stopping.aborted) return stoppingResponse(request);
  if (handler.method.methodKind === "bidi_streaming" && request.version !== "2.0") return upgradeResponse();
  const streams = handler.method.methodKind !== "unary";
  const header = new Headers(request.header);
  if (!streams) capDeadline(header, maxTimeoutMs);
  const signal = streams ? AbortSignal.any([request.signal, stopping]) : request.signal;
  const end = inFlight.begin();
  request.signal.addEventListener("abort", end, { once: true });
  try {
    const response = await handler({
      httpVersion: request.version,
      method: request.method === "HEAD" ? "GET" : request.method,
      url: urlOf(request.target),
      header,
      body: bodyOf(request),
      signal,
      contextValues: createContextValues(),
    });
    if (response.body === undefined) end();
    else response.body = tracked(response.body, currentScope()!, end);
    return await inOnePiece(request, response);
  } catch (error) {
    end();
    throw error;
  }
}

/** A body that breaks off is its caller's fault: the runtime would take any other error for one of ours. */
async function* bodyOf({ body, wholeBody }: HttpRequest): AsyncGenerator<Uint8Array> {
  if (wholeBody !== undefined) {
    yield wholeBody;
    return;
  }
  try {
    yield* body;
  } catch (error) {
    if (!(error instanceof BodyBroken)) throw error;
    throw new ConnectError("The request broke off.", Code.Canceled, undefined, undefined, error);
  }
}

/** A short reply goes out in one piece: in several, they cost more than the call. */
async function inOnePiece(
  request: HttpRequest,
  response: Awaited<ReturnType<UniversalHandler>>,
): Promise<HttpResponse> {
  const { body } = response;
  const streams = request.version === "2.0" || streamingType.test(request.header.get("content-type") ?? "");
  if (body === undefined || streams) return response;
  return { ...response, body: await readAllBytes(body, Number.MAX_SAFE_INTEGER) };
}

/**
 * A body whose end is noticed. A stream's handler runs while its body is read, which the server does outside of the
 * request's async context: each step goes back into it.
 */
function tracked(body: AsyncIterable<Uint8Array>, scope: RequestScope, end: () => void): AsyncIterable<Uint8Array> {
  const iterator = body[Symbol.asyncIterator]();
  const step = async (work: () => Promise<IteratorResult<Uint8Array>>) => {
    try {
      const result = await withScope(scope, work);
      if (result.done === true) end();
      return result;
    } catch (error) {
      end();
      throw error;
    }
  };
  const finished: IteratorResult<Uint8Array> = { done: true, value: undefined };
  const tracking: AsyncIterator<Uint8Array> = {
    next: () => step(() => iterator.next()),
    throw: (reason) => step(() => iterator.throw?.(reason) ?? Promise.reject(reason)),
    return: (value) => step(() => iterator.return?.(value) ?? Promise.resolve(finished)),
  };
  return { [Symbol.asyncIterator]: () => tracking };
}

/** Connect clients read the code from the body, gRPC-Web clients from the status. HTTP/2 connections got a GOAWAY. */
function stoppingResponse({ version }: HttpRequest): HttpResponse {
  const body = JSON.stringify({ code: "unavailable", message: "The server is stopping; try again." });
  const response = textResponse(503, "application/json", body);
  if (version !== "2.0") response.header?.set("connection", "close");
  return response;
}

/** The runtime would answer 505, which reads as a fault of the server. */
function upgradeResponse(): HttpResponse {
  const text = "This call streams both ways, which takes HTTP/2.\n";
  const response = textResponse(426, "text/plain; charset=utf-8", text);
  response.header?.set("upgrade", "h2c");
  return response;
}

function preflightHeader(): Headers {
  return new Headers({
    "access-control-allow-methods": cors.allowedMethods.join(", "),
    "access-control-allow-headers": [...cors.allowedHeaders, "authorization", requestIdHeader, ...traceHeaders].join(
      ", ",
    ),
    "access-control-max-age": "7200",
  });
}

/** Any origin may call: what protects an RPC is its token, and no cookie is ever read. */
function withCommonHeaders(response: HttpResponse, request: HttpRequest, requestId: string): HttpResponse {
  const header = new Headers(response.header);
  header.set(requestIdHeader, requestId);
  if (request.header.has("origin")) {
    header.set("access-control-allow-origin", "*");
    header.set("access-control-expose-headers", [...cors.exposedHeaders, requestIdHeader].join(", "));
  }
  return { ...response, header };
}
