import { type ConnectRouter, cors, createContextValues } from "@connectrpc/connect";
import {
  createAsyncIterable,
  type UniversalHandler,
  type UniversalServerRequest,
  type UniversalServerResponse,
} from "@connectrpc/connect/protocol";
import type { Metrics } from "./metrics.ts";
import { currentScope, type RequestScope, requestIdFrom, requestIdHeader, withScope } from "./rpc-context.ts";
import { capDeadline } from "./rpc-deadline.ts";
import type { InFlight } from "./rpc-in-flight.ts";

/** Answers one HTTP request, whichever listener it came in on; `peer` is the address of the connection's other end. */
export type Dispatch = (request: UniversalServerRequest, peer: string) => Promise<UniversalServerResponse>;

export interface DispatchOptions {
  router: ConnectRouter;
  inFlight: InFlight;
  isReady: () => Promise<boolean>;
  metrics: Metrics | undefined;
  /** The longest deadline of a unary call, in milliseconds. */
  maxTimeoutMs: number;
  /** Aborted when the server begins to stop: ends streams, which would not end by themselves, and refuses new calls. */
  stopping: AbortSignal;
}

/** Routes RPCs, GET /healthz, GET /metrics and CORS preflights; everything else is a 404. */
export function createDispatch(options: DispatchOptions): Dispatch {
  const handlers = new Map(options.router.handlers.map((handler) => [handler.requestPath, handler]));
  return (request, peer) => {
    const requestId = requestIdFrom(request.header.get(requestIdHeader));
    return withScope({ requestId, peer }, async () => {
      const { pathname } = new URL(request.url);
      const handler = handlers.get(pathname);
      const response =
        handler === undefined
          ? await answerPlain(options, request, pathname)
          : await answerRpc(options, handler, request);
      return withCommonHeaders(response, request, requestId);
    });
  };
}

async function answerPlain(
  { isReady, metrics, stopping }: DispatchOptions,
  { method }: UniversalServerRequest,
  pathname: string,
): Promise<UniversalServerResponse> {
  if (method === "GET" && pathname === "/healthz") {
    const ready = !stopping.aborted && (await isReady());
    return textResponse(ready ? 200 : 503, "application/json", JSON.stringify({ ready }));
  }
  if (method === "GET" && pathname === "/metrics" && metrics !== undefined) {
    return textResponse(200, metrics.contentType, await metrics.text());
  }
  return textResponse(404, "text/plain; charset=utf-8", "There is nothing at this path.\n");
}

function textResponse(status: number, contentType: string, text: string): UniversalServerResponse {
  const bytes = new TextEncoder().encode(text);
  const header = new Headers({ "content-type": contentType, "content-length": String(bytes.byteLength) });
  return { status, header, body: createAsyncIterable([bytes]) };
}

async function answerRpc(
  { inFlight, maxTimeoutMs, stopping }: DispatchOptions,
  handler: UniversalHandler,
  request: UniversalServerRequest,
): Promise<UniversalServerResponse> {
  if (request.method === "OPTIONS") return { status: 204, header: preflightHeader() };
  if (stopping.aborted) return stoppingResponse(request);
  const streams = handler.method.methodKind !== "unary";
  const header = new Headers(request.header);
  if (!streams) capDeadline(header, maxTimeoutMs);
  const signal = streams ? AbortSignal.any([request.signal, stopping]) : request.signal;
  const end = inFlight.begin();
  request.signal.addEventListener("abort", end, { once: true });
  try {
    const response = await handler({ ...request, header, signal, contextValues: createContextValues() });
    if (response.body === undefined) end();
    else response.body = tracked(response.body, currentScope()!, end);
    return response;
  } catch (error) {
    end();
    throw error;
  }
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
function stoppingResponse({ httpVersion }: UniversalServerRequest): UniversalServerResponse {
  const body = JSON.stringify({ code: "unavailable", message: "The server is stopping; try again." });
  const response = textResponse(503, "application/json", body);
  if (httpVersion.startsWith("1.")) response.header?.set("connection", "close");
  return response;
}

function preflightHeader(): Headers {
  return new Headers({
    "access-control-allow-methods": cors.allowedMethods.join(", "),
    "access-control-allow-headers": [...cors.allowedHeaders, "authorization", requestIdHeader].join(", "),
    "access-control-max-age": "7200",
  });
}

/** Any origin may call: what protects an RPC is its token, and no cookie is ever read. */
function withCommonHeaders(
  response: UniversalServerResponse,
  request: UniversalServerRequest,
  requestId: string,
): UniversalServerResponse {
  const header = new Headers(response.header);
  header.set(requestIdHeader, requestId);
  if (request.header.has("origin")) {
    header.set("access-control-allow-origin", "*");
    header.set("access-control-expose-headers", [...cors.exposedHeaders, requestIdHeader].join(", "));
  }
  return { ...response, header };
}
