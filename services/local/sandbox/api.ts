import type { Clock } from "#services/platform/clock.ts";
import type { Bot } from "./bots.ts";
import { type Call, type CallResult, type Method, methodFromName } from "./methods.ts";
import { notFound, type Refusal, tooManyRequests, unauthorized } from "./refusal.ts";
import { chatIdOf, type Parameters, parametersFromRequest } from "./request.ts";
import type { Verdict } from "./script.ts";
import type { World } from "./world.ts";

export interface Api {
  /** Answers `/bot<token>/<method>`; `path` is without the query. Also by cutting the connection, or never. */
  answer(request: Request, path: string): Promise<Response>;
  /** Makes the call that a webhook's HTTP reply asks for. */
  execute(bot: Bot, methodName: string, parameters: Parameters): Promise<CallResult>;
}

const prefixLength = "/bot".length;
const json: ResponseInit = { headers: { "content-type": "application/json" } };

type Arrival = Omit<Call, "parameters">;

/**
 * One call: stamped on arrival, given its place in the bot's second, read, met with what the script holds for it, and
 * only then looked at. The place is taken before anything is awaited: what counts is when calls arrive.
 */
export function createApi(world: World, clock: Clock): Api {
  async function answer(request: Request, path: string): Promise<Response> {
    const arrivedMs = world.nowMs();
    const slash = path.indexOf("/", prefixLength);
    const token = decoded(path.slice(prefixLength, slash < 0 ? undefined : slash));
    const bot = world.bots.fromToken(token);
    if (!bot) return refuseUnknown(token, path.slice(slash + 1), arrivedMs);
    const method = methodFromName(path.slice(slash + 1));
    const arrival: Arrival = { bot, method: method?.name ?? "unknown", arrivedMs, via: "call" };
    if (!method) return refuse(arrival, undefined, notFound);
    const held = arrive(arrival, method.isSend);
    if (held) return refuse(arrival, undefined, held);
    const read = await parametersFromRequest(request);
    if ("kind" in read) return refuse(arrival, undefined, read);
    return answerCall(request, method, { ...arrival, parameters: read.parameters });
  }

  async function answerCall(request: Request, method: Method, call: Call): Promise<Response> {
    const chat = chatIdOf(call.parameters.chat_id);
    const verdict = world.script.verdict(call.bot.id, chat, method.name.toLowerCase(), method.isSend);
    if (verdict) return answerScripted(request, method, call, verdict);
    // Plain sends are answered without another turn of the event loop.
    const result = method.run(world, call);
    return respond(call, result instanceof Promise ? await result : result);
  }

  /** Acceptance comes at once and the answer late, as it is when an answer is lost on its way. */
  async function answerScripted(request: Request, method: Method, call: Call, verdict: Verdict): Promise<Response> {
    const { outcome, delayMs } = verdict;
    const result = !outcome || outcome.accepted ? await method.run(world, call) : undefined;
    if (delayMs > 0) await clock.sleep(delayMs, request.signal);
    const isInvalid = result !== undefined && "kind" in result;
    if (result && (isInvalid || !outcome)) return respond(call, result);
    if (!outcome) return cutResponse();
    const chat = chatIdOf(call.parameters.chat_id);
    const told = "refusal" in outcome ? outcome.refusal : silence(outcome.silence);
    const refusal = outcome.accepted ? { ...told, kind: `${told.kind}_accepted` } : told;
    if ("refusal" in outcome) return refuse(call, chat, refusal);
    note(call, chat, refusal);
    if (outcome.silence === "hang") await gone(request.signal);
    return cutResponse();
  }

  /** Counts the arrival, and returns why it is refused before it is read, if it is. */
  function arrive({ bot, arrivedMs }: Arrival, isSend: boolean): Refusal | undefined {
    const { settings } = world;
    const { fromMs, untilMs } = bot.retryWindow;
    const held = arrivedMs < untilMs;
    world.record.arrived(bot.id, isSend, held && arrivedMs > fromMs + settings.retryAfterGraceMs, arrivedMs);
    if (!isSend && !settings.countEveryMethod) return undefined;
    if (held && settings.holdDuringRetryAfter) {
      return tooManyRequests("limit_held", Math.ceil((untilMs - arrivedMs) / 1_000));
    }
    return world.bots.admit(bot, arrivedMs) ? undefined : tooManyRequests("limit_bot", settings.retryAfterSeconds);
  }

  function respond(call: Call, result: CallResult): Response {
    if ("kind" in result) return refuse(call, chatIdOf(call.parameters.chat_id), result);
    return new Response(JSON.stringify({ ok: true, result: result.result }), json);
  }

  function refuse(arrival: Arrival, chat: number | undefined, refusal: Refusal): Response {
    note(arrival, chat, refusal);
    if (refusal.retryAfterSeconds !== undefined && refusal.kind !== "limit_held") {
      openRetryWindow(arrival.bot, world.nowMs(), refusal.retryAfterSeconds);
    }
    return refusalResponse(refusal);
  }

  function note({ bot, method, arrivedMs }: Arrival, chat: number | undefined, refusal: Refusal): void {
    const { kind, status, description } = refusal;
    world.record.refused({ bot: bot.id, chat, method, kind, status, description, arrived_ms: arrivedMs });
  }

  function refuseUnknown(token: string, methodName: string, arrivedMs: number): Response {
    const { kind, status, description } = unauthorized;
    const method = methodFromName(methodName)?.name ?? "unknown";
    const bot = Number(/^\d{1,15}(?=:)/.exec(token)?.[0] ?? 0);
    world.record.refused({ bot, method, kind, status, description, arrived_ms: arrivedMs });
    return refusalResponse(unauthorized);
  }

  async function execute(bot: Bot, methodName: string, parameters: Parameters): Promise<CallResult> {
    const method = methodFromName(methodName);
    const arrival: Arrival = { bot, method: method?.name ?? "unknown", arrivedMs: world.nowMs(), via: "webhook" };
    const early = method ? arrive(arrival, method.isSend) : notFound;
    const result = early ?? (await method!.run(world, { ...arrival, parameters }));
    if ("kind" in result) note(arrival, chatIdOf(parameters.chat_id), result);
    return result;
  }

  return { answer, execute };
}

/** Overlapping windows become one. */
function openRetryWindow(bot: Bot, nowMs: number, seconds: number): void {
  const { fromMs, untilMs } = bot.retryWindow;
  bot.retryWindow = { fromMs: nowMs < untilMs ? fromMs : nowMs, untilMs: Math.max(untilMs, nowMs + seconds * 1_000) };
}

function silence(kind: "hang" | "cut"): Refusal {
  return { kind, status: 0, description: "not answered" };
}

/** Resolves when the caller has given up. */
function gone(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

function refusalResponse(refusal: Refusal): Response {
  const { status, code = status, description, retryAfterSeconds, foreign } = refusal;
  if (foreign) {
    const headers = new Headers({ "content-type": foreign.contentType });
    if (foreign.retryAfter !== undefined) headers.set("retry-after", foreign.retryAfter);
    return new Response(foreign.body, { status, headers });
  }
  const parameters = retryAfterSeconds === undefined ? undefined : { retry_after: retryAfterSeconds };
  return new Response(JSON.stringify({ ok: false, error_code: code, description, parameters }), { ...json, status });
}

/**
 * A body that fails before its first byte makes the listener cut the connection without a status line, which is what a
 * peer's crash looks like. The reason is null because any other is printed.
 */
function cutResponse(): Response {
  return new Response(new ReadableStream({ start: (controller) => controller.error(null) }));
}

function decoded(token: string): string {
  return token.includes("%") ? token.replace(/%3A/gi, ":") : token;
}
