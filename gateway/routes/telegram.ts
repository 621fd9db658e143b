import { ErrorReason } from "#services/platform/domain-error.ts";
import type { Logger } from "#services/platform/log.ts";
import { reasonFromError } from "#services/platform/rpc-errors.ts";
import { pathOfUrl } from "#services/platform/transport/target.ts";
import { BodyTooLargeError, readBody } from "../body.ts";
import { callOptionsFor, type GatewayClients } from "../clients.ts";
import type { Handler, Trace } from "../observe.ts";

/** As much as HandleUpdate takes: a message with what it replies to was seen with 88 KB. */
const updateLimitBytes = 1024 * 1024;
const secretHeader = "x-telegram-bot-api-secret-token";
const maxSecretLength = 256;

interface TelegramOptions {
  readonly clients: GatewayClients;
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
 * Telegram sends again whatever is not answered with 2xx. So a wrong secret and an unknown bot are one empty 403, and
 * anything that can pass is a 503; an update that can never be taken is logged, without its content, and answered 200.
 */
export function createTelegramHandler({ clients, log }: TelegramOptions): Handler {
  return async (request, trace) => {
    const sender = senderFrom(request);
    if (sender === undefined) return empty(403);
    try {
      const update = await updateFrom(request);
      if (update === undefined) return empty(400);
      const replyJson = await handledUpdate(sender, update, clients, trace, log);
      return replyJson === ""
        ? empty(200)
        : new Response(replyJson, { headers: { "content-type": "application/json" } });
    } catch (error) {
      return refusal(error, sender, trace, log);
    }
  };
}

function senderFrom(request: Request): Sender | undefined {
  const botId = botIdFrom(request.url);
  const secret = request.headers.get(secretHeader) ?? "";
  return botId === undefined || secret === "" || secret.length > maxSecretLength ? undefined : { botId, secret };
}

/** Undefined where the body broke off: nobody can say what it would have been. */
async function updateFrom(request: Request): Promise<Update | undefined> {
  try {
    const json = new TextDecoder("utf-8", { fatal: true }).decode(await readBody(request, updateLimitBytes));
    // JSON never has it, and a service would refuse the request before it looks at the secret.
    return json.includes("\0") ? { problem: "no update" } : { json };
  } catch (error) {
    if (error instanceof BodyTooLargeError) return { problem: "too large" };
    return error instanceof TypeError ? { problem: "no UTF-8" } : undefined;
  }
}

function botIdFrom(url: string): bigint | undefined {
  const digits = /^\/telegram\/([0-9]{1,16})$/.exec(pathOfUrl(url))?.[1];
  const number = Number(digits ?? 0);
  return Number.isSafeInteger(number) && number > 0 ? BigInt(number) : undefined;
}

/** An update without one meaning: it has the secret compared where there is nothing else to pass on. */
const nothingToTake = "{}";

async function handledUpdate(
  { botId, secret }: Sender,
  update: Update,
  clients: GatewayClients,
  trace: Trace,
  log: Logger,
): Promise<string> {
  const updateJson = "json" in update ? update.json : nothingToTake;
  // The secret is always handed over: a HandleUpdate without one means that its caller has verified the update itself.
  const request = { botId, updateJson, webhookSecret: secret };
  const { replyJson } = await clients.campaign.handleUpdate(request, callOptionsFor(trace));
  if ("problem" in update) logUntakeable(update.problem, botId, trace, log);
  return replyJson;
}

function logUntakeable(problem: string, botId: bigint, trace: Trace, log: Logger): void {
  const record = { botId: Number(botId), problem, requestId: trace.requestId };
  log.warn(record, "an update can never be taken, and was answered as if it was");
}

function refusal(error: unknown, { botId }: Sender, trace: Trace, log: Logger): Response {
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

function empty(status: number): Response {
  return new Response(null, { status });
}
