/**
 * One request below /api, from the session to the envelope. The order is the contract's order of checks: `key`, `unpaid`,
 * `func` for the call and its parameters, and then whatever the service finds. So nobody without a session learns which
 * calls exist, and no body is read for them.
 */
import type { Logger } from "#services/platform/log.ts";
import { pathOfUrl } from "#services/platform/transport/target.ts";
import { callOptionsFor, type GatewayClients } from "./clients.ts";
import { corsHeaders, isPreflight, preflightReply } from "./cors.ts";
import type { Call, Endpoint } from "./endpoint.ts";
import { queryNames, readForm } from "./form.ts";
import { checkPostQuery } from "./names.ts";
import type { Handler, Trace } from "./observe.ts";
import { httpStatusFromCode, type RestCode, RestError, restErrorFrom } from "./rest-error.ts";
import type { ResolveSession } from "./session.ts";

export interface AnswerOptions {
  readonly clients: GatewayClients;
  readonly resolveSession: ResolveSession;
  readonly log: Logger;
}

/** Answers one endpoint. */
export function createAnswer(endpoint: Endpoint, options: AnswerOptions): Handler {
  const atOnce = createTurns(endpoint.maxAtOnce);
  return (request, trace) =>
    enveloped(request, trace, options, async (call) => {
      if (endpoint.method === "POST") checkPostQuery(endpoint, queryNames(request.url));
      return await atOnce(async () => endpoint.run(call, await readForm(request, endpoint.bodyLimitBytes)));
    });
}

/**
 * Answers what is below /api and no endpoint: an unknown path, or a known one with another method. A path that does not
 * end in `.json` gets the same envelope under HTTP's own code.
 */
export function createUnknownAnswer(endpoints: readonly Endpoint[], options: AnswerOptions): Handler {
  return async (request, trace) => {
    if (isPreflight(request)) return preflightReply();
    const refusal = await enveloped(request, trace, options, () => {
      throw new RestError("func", unknownCall(request, endpoints));
    });
    if (endsInJson(request.url)) return refusal;
    const status = trace.outcome === "func" ? 404 : httpStatusFromCode[trace.outcome as RestCode];
    return new Response(refusal.body, { status, headers: refusal.headers });
  };
}

/** Whether a URL's path promises an envelope under HTTP status 200. */
function endsInJson(url: string): boolean {
  return url.split(/[?#]/, 1)[0]!.endsWith(".json");
}

function unknownCall(request: Request, endpoints: readonly Endpoint[]): string {
  const pathname = pathOfUrl(request.url);
  const methods = endpoints.filter(({ path }) => path === pathname).map(({ method }) => method);
  return methods.length === 0 ? "There is no such call." : `Use ${methods.join(" or ")} for this call.`;
}

/** HTTP says 200 whatever happened; the outcome is in the body. */
async function enveloped(
  request: Request,
  trace: Trace,
  { clients, resolveSession, log }: AnswerOptions,
  work: (call: Call) => Promise<unknown>,
): Promise<Response> {
  try {
    const { accountId, sessionId } = await resolveSession(request, callOptionsFor(trace));
    trace.accountId = accountId;
    trace.sessionId = sessionId;
    const data = await work({ accountId, clients, options: callOptionsFor(trace) });
    trace.outcome = "ok";
    return envelope(data === undefined ? { status: "ok" } : { status: "ok", data });
  } catch (error) {
    const { code, message } = restErrorFrom(error);
    trace.outcome = code;
    if (code === "db") log.error({ err: error, requestId: trace.requestId }, "a call failed on our side");
    return envelope({ status: "error", error: code, message });
  }
}

function envelope(body: Record<string, unknown>): Response {
  const headers = { ...corsHeaders, "content-type": "application/json", "cache-control": "no-store" };
  return new Response(JSON.stringify(body), { status: 200, headers });
}

/** Runs at most `max` works at once, and refuses the rest with `limit`: each holds a whole body in memory. */
function createTurns(max: number): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0;
  return async (work) => {
    if (running >= max)
      throw new RestError("limit", "Too many of these calls run at once. Please try again in a moment.");
    running += 1;
    try {
      return await work();
    } finally {
      running -= 1;
    }
  };
}
