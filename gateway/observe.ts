import { Histogram, type Registry } from "prom-client";
import type { Clock } from "#services/platform/clock.ts";
import type { Logger } from "#services/platform/log.ts";
import { requestIdFrom, requestIdHeader, withRequestId } from "#services/platform/rpc/context.ts";
import type { RestCode } from "./rest-error.ts";

/** What is known of a request while it is served; its handler adds what it finds out. */
export interface Trace {
  readonly requestId: string;
  /** Of the client; empty where it is not known. */
  readonly address: string;
  /** Names the session without opening it, once there is one; see `sessionIdFrom`. */
  sessionId?: string;
  /** `ok`, a REST code, or the HTTP status where the route has no envelope. */
  outcome?: string;
  accountId?: bigint;
}

export type Handler = (request: Request, trace: Trace) => Response | Promise<Response>;

/** Wraps a handler with the request id, the access log and the metrics. `route` is what log and metrics call it. */
export type Observe = (route: string, handler: Handler) => (context: { request: Request }) => Promise<Response>;

interface ObserverOptions {
  readonly log: Logger;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly addressOf: (request: Request) => string;
}

/** Upper bounds in seconds: an ordinary call takes milliseconds, an upload or the Start of a large broadcast seconds. */
const buckets = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

export function createObserver({ log, registry, clock, addressOf }: ObserverOptions): Observe {
  const duration = new Histogram({
    name: "leadcast_gateway_request_duration_seconds",
    help: "Duration of an HTTP request by its route and how it ended.",
    labelNames: ["route", "outcome"],
    buckets,
    registers: [registry],
  });
  return (route, handler) =>
    async ({ request }) => {
      const started = clock.monotonicMs();
      const requestId = requestIdFrom(request.headers.get(requestIdHeader));
      const trace: Trace = { requestId, address: addressOf(request) };
      const response = await withRequestId(trace.requestId, () => handledSafely(handler, request, trace, log));
      response.headers.set(requestIdHeader, trace.requestId);
      completeRefusal(response);
      const durationMs = clock.monotonicMs() - started;
      const outcome = trace.outcome ?? String(response.status);
      duration.observe({ route, outcome }, durationMs / 1000);
      log.info(accessRecord(request, route, trace, { status: response.status, outcome, durationMs }), "request");
      return response;
    };
}

/** A fault in a route without an envelope of its own; the API's routes answer theirs themselves. */
async function handledSafely(handler: Handler, request: Request, trace: Trace, log: Logger): Promise<Response> {
  try {
    return await handler(request, trace);
  } catch (error) {
    log.error({ err: error, requestId: trace.requestId }, "a request failed");
    return new Response(null, { status: 500 });
  }
}

/** What every refusal has, whichever route it comes from. */
function completeRefusal({ headers, status }: Response): void {
  if (status >= 400 && !headers.has("x-error")) headers.set("x-error", codeFromStatus(status));
}

/** The REST code that comes closest to a plain HTTP status, so that a proxy can count every refusal in one way. */
function codeFromStatus(status: number): RestCode {
  if (status === 401 || status === 403) return "key";
  if (status === 429) return "limit";
  return status >= 500 ? "db" : "func";
}

interface Ending {
  status: number;
  outcome: string;
  durationMs: number;
}

/** The route and not the URL: a query, or a path that somebody made up, may hold what no log should. */
function accessRecord(request: Request, route: string, trace: Trace, ending: Ending): Record<string, unknown> {
  return {
    requestId: trace.requestId,
    method: request.method,
    route,
    status: ending.status,
    outcome: ending.outcome,
    durationMs: Math.round(ending.durationMs * 10) / 10,
    ...(trace.accountId === undefined ? {} : { accountId: trace.accountId }),
  };
}
