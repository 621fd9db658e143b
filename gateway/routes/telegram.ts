import { ErrorReason } from "#services/platform/domain-error.ts";
import type { HoldBack } from "#services/platform/hold-back.ts";
import type { Logger } from "#services/platform/log.ts";
import { sessionIdFrom } from "#services/platform/rpc/context.ts";
import { reasonFromError } from "#services/platform/rpc/errors.ts";
import { pathOfUrl } from "#services/platform/transport/target.ts";
import { BodyTooLargeError, readBody } from "../body.ts";
import { callOptionsFor, type GatewayClients } from "../clients.ts";
import type { Handler, Trace } from "../observe.ts";
import { RestError } from "../rest-error.ts";
import { Recent, type Strangers } from "../strangers.ts";

/** As much as HandleUpdate takes: a message with what it replies to was seen with 88 KB. */
const updateLimits = { bytes: 1024 * 1024, bytesPerSecond: 16_384 };
const secretHeader = "x-telegram-bot-api-secret-token";
const maxSecretLength = 256;

/** Bots whose secret this process has seen to be right, and the secret's hash. */
const maxKnownBots = 20_000;

interface TelegramOptions {
  readonly clients: GatewayClients;
  readonly strangers: Strangers;
  readonly holdBack: HoldBack;
  readonly log: Logger;
}

interface Sender {
  readonly botId: bigint;
  readonly secret: string;
}

/** An update's JSON, or why there is none that anybody could take, however often it is sent. */
type Update = { readonly json: string } | { readonly problem: "too large" | "no UTF-8" | "no update" };

/**
 * Telegram's webhook, `POST /telegram/:bot`. The service compares the secret; a call to the Bot API that it wants made is
 * given back in the reply, which is how a callback is answered without another request.
 *
 * Telegram sends again whatever is not answered with 2xx. So a wrong secret and an unknown bot are one empty 403, and 429
 * after many of them; anything that can pass is a 503; an update that can never be taken is logged, without its content,
 * and answered 200. An update with the right secret is never refused because of its address.
 */
export function createTelegramHandler({ clients, strangers, holdBack, log }: TelegramOptions): Handler {
  const known = new Recent<string>(maxKnownBots);
  const take = async (request: Request, trace: Trace, { botId, secret }: Sender) => {
    const name = sessionIdFrom(secret);
    const replyJson = await strangers.check({
      address: trace.address,
      known: known.get(String(botId)) === name,
      signal: request.signal,
      work: () => handledUpdate(request, trace, { botId, secret }, { clients, log }),
      isWrong: (error) => reasonFromError(error).reason === ErrorReason.NOT_YOURS,
    });
    known.set(String(botId), name);
    return replyJson;
  };
  return async (request, trace) => {
    const sender = senderFrom(request);
    if (sender === undefined) return empty(403);
    try {
      const replyJson = await take(request, trace, sender);
      return replyJson === ""
        ? empty(200)
        : new Response(replyJson, { headers: { "content-type": "application/json" } });
    } catch (error) {
      const reply = refusal(error, sender, trace, log);
      if (reply.status === 429) await holdBack(request.signal);
      return reply;
    }
  };
}

/** Undefined where it cannot be an update of one of our bots. */
function senderFrom(request: Request): Sender | undefined {
  const botId = botIdFrom(request.url);
  const secret = request.headers.get(secretHeader) ?? "";
  return botId === undefined || secret === "" || secret.length > maxSecretLength ? undefined : { botId, secret };
}

/** Throws RestError where the body broke off: nobody can say what it would have been. */
async function updateFrom(request: Request): Promise<Update> {
  try {
    const json = new TextDecoder("utf-8", { fatal: true }).decode(await readBody(request, updateLimits));
    // JSON never has it, and a service would refuse the request before it looks at the secret.
    return json.includes("\0") ? { problem: "no update" } : { json };
  } catch (error) {
    if (error instanceof BodyTooLargeError) return { problem: "too large" };
    if (error instanceof TypeError) return { problem: "no UTF-8" };
    throw error;
  }
}

function botIdFrom(url: string): bigint | undefined {
  const digits = /^\/telegram\/([0-9]{1,16})$/.exec(pathOfUrl(url))?.[1];
  const number = Number(digits ?? 0);
  return Number.isSafeInteger(number) && number > 0 ? BigInt(number) : undefined;
}

/** An update without one meaning: it has the secret compared where there is nothing else to pass on. */
const nothingToTake = "{}";

/** Reads the update and hands it on. @returns JSON of the Bot API call that answers it; empty for none. */
async function handledUpdate(
  request: Request,
  trace: Trace,
  { botId, secret }: Sender,
  { clients, log }: Pick<TelegramOptions, "clients" | "log">,
): Promise<string> {
  const update = await updateFrom(request);
  const updateJson = "json" in update ? update.json : nothingToTake;
  // The secret is always handed over: a HandleUpdate without one means that its caller has verified the update itself.
  const call = { botId, updateJson, webhookSecret: secret };
  const { replyJson } = await clients.campaign.handleUpdate(call, callOptionsFor(trace));
  if ("problem" in update) logUntakeable(update.problem, botId, trace, log);
  return replyJson;
}

function logUntakeable(problem: string, botId: bigint, trace: Trace, log: Logger): void {
  const record = { botId: Number(botId), problem, requestId: trace.requestId };
  log.warn(record, "an update can never be taken, and was answered as if it was");
}

function refusal(error: unknown, { botId }: Sender, trace: Trace, log: Logger): Response {
  if (error instanceof RestError) {
    return error.code === "limit" ? empty(429, { "retry-after": String(error.retryAfterSeconds) }) : empty(400);
  }
  const { reason } = reasonFromError(error);
  if (reason === ErrorReason.NOT_YOURS) return empty(403);
  // The secret was right: it is compared before the update is read.
  if (reason === ErrorReason.INVALID_ARGUMENT) {
    logUntakeable("no update", botId, trace, log);
    return empty(200);
  }
  log.error({ err: error, requestId: trace.requestId }, "an update was not taken; Telegram will send it again");
  return empty(503);
}

function empty(status: number, headers: Record<string, string> = {}): Response {
  return new Response(null, { status, headers });
}
