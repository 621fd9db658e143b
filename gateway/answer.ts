/**
 * One request below /api, from the session to the envelope. The order is the contract's order of checks: `key`, `unpaid`,
 * `func` for the call and its parameters, and then whatever the service finds. So nobody without a session learns which
 * calls exist, and no body is read for them.
 */
import type { HoldBack } from "#services/platform/hold-back.ts";
import type { Logger } from "#services/platform/log.ts";
import { pathOfUrl } from "#services/platform/transport/target.ts";
import type { AccountTurns } from "./account-turns.ts";
import { callOptionsFor, type GatewayClients } from "./clients.ts";
import { corsHeaders, isPreflight, preflightReply } from "./cors.ts";
import type { Call, Endpoint } from "./endpoint.ts";
import { queryNames } from "./form.ts";
import { JsonList } from "./json-list.ts";
import { checkPostQuery } from "./names.ts";
import type { Handler, Trace } from "./observe.ts";
import { httpStatusFromCode, type RestCode, RestError, restErrorFrom } from "./rest-error.ts";
import type { ResolveSession } from "./session.ts";

export interface AnswerOptions {
  readonly clients: GatewayClients;
  readonly resolveSession: ResolveSession;
  readonly turns: AccountTurns;
  readonly holdBack: HoldBack;
  readonly log: Logger;
}

/** Answers one endpoint. */
export function createAnswer(endpoint: Endpoint, options: AnswerOptions): Handler {
  const { upload, long, call: short } = options.turns;
  const read = endpoint.isUpload ? upload : endpoint.isLong ? long : short;
  return (request, trace) =>
    enveloped(request, trace, options, async (call) => {
      if (endpoint.method === "POST") checkPostQuery(endpoint, queryNames(request.url));
      return await read(call.accountId, request, (form) => endpoint.run(call, form));
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
  { clients, resolveSession, holdBack, log }: AnswerOptions,
  work: (call: Call) => Promise<unknown>,
): Promise<Response> {
  try {
    const { accountId, sessionId } = await resolveSession(request, trace, callOptionsFor(trace));
    trace.accountId = accountId;
    trace.sessionId = sessionId;
    const data = await work({ accountId, clients, options: callOptionsFor(trace) });
    trace.outcome = "ok";
    return reply(okText(data));
  } catch (error) {
    const refusal = restErrorFrom(error);
    trace.outcome = refusal.code;
    if (refusal.code === "db") log.error({ err: error, requestId: trace.requestId }, "a call failed on our side");
    if (refusal.heldBack) await holdBack(request.signal);
    return refused(refusal);
  }
}

function okText(data: unknown): string {
  if (data instanceof JsonList) return `{"status":"ok","data":${data.toText()}}`;
  return JSON.stringify(data === undefined ? { status: "ok" } : { status: "ok", data });
}

function reply(text: string, more: Record<string, string> = {}): Response {
  const headers = { ...corsHeaders, "content-type": "application/json", "cache-control": "no-store", ...more };
  return new Response(text, { status: 200, headers });
}

function refused({ code, message, retryAfterSeconds }: RestError): Response {
  const wait: Record<string, string> = retryAfterSeconds > 0 ? { "retry-after": String(retryAfterSeconds) } : {};
  return reply(JSON.stringify({ status: "error", error: code, message }), { "x-error": code, ...wait });
}
