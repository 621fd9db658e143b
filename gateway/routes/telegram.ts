import { ErrorReason } from "#services/platform/domain-error.ts";
import type { Logger } from "#services/platform/log.ts";
import { reasonFromError } from "#services/platform/rpc-errors.ts";
import { pathOfUrl } from "#services/platform/transport/target.ts";
import { readBody } from "../body.ts";
import { callOptionsFor, type GatewayClients } from "../clients.ts";
import type { Handler, Trace } from "../observe.ts";

/** HandleUpdate takes no more; what Telegram sends of a private chat is a few kilobytes. */
const updateLimitBytes = 64 * 1024;
const secretHeader = "x-telegram-bot-api-secret-token";
const maxSecretLength = 256;

interface TelegramOptions {
  readonly clients: GatewayClients;
  readonly log: Logger;
}

interface Update {
  readonly botId: bigint;
  readonly secret: string;
  readonly updateJson: string;
}

/**
 * Telegram's webhook, `POST /telegram/:bot`. The service compares the secret; a call to the Bot API that it wants made is
 * given back in the reply, which is how a callback is answered without another request. A wrong secret and an unknown
 * bot are one empty 403; anything that can pass is a 503, after which Telegram sends the update again.
 */
export function createTelegramHandler({ clients, log }: TelegramOptions): Handler {
  return async (request, trace) => {
    const update = await updateFrom(request);
    if (update instanceof Response) return update;
    try {
      const replyJson = await handledUpdate(update, clients, trace);
      return replyJson === ""
        ? empty(200)
        : new Response(replyJson, { headers: { "content-type": "application/json" } });
    } catch (error) {
      return refusal(error, trace, log);
    }
  };
}

/** The update with what proves it, or the answer where it cannot be one. */
async function updateFrom(request: Request): Promise<Update | Response> {
  const botId = botIdFrom(request.url);
  const secret = request.headers.get(secretHeader) ?? "";
  if (botId === undefined || secret === "" || secret.length > maxSecretLength) return empty(403);
  try {
    const bytes = await readBody(request, updateLimitBytes);
    return { botId, secret, updateJson: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch {
    return empty(400);
  }
}

function botIdFrom(url: string): bigint | undefined {
  const digits = /^\/telegram\/([0-9]{1,16})$/.exec(pathOfUrl(url))?.[1];
  const number = Number(digits ?? 0);
  return Number.isSafeInteger(number) && number > 0 ? BigInt(number) : undefined;
}

async function handledUpdate({ botId, secret, updateJson }: Update, clients: GatewayClients, trace: Trace) {
  // The secret is always handed over: a HandleUpdate without one means that its caller has verified the update itself.
  const request = { botId, updateJson, webhookSecret: secret };
  return (await clients.campaign.handleUpdate(request, callOptionsFor(trace))).replyJson;
}

function refusal(error: unknown, trace: Trace, log: Logger): Response {
  const { reason } = reasonFromError(error);
  if (reason === ErrorReason.NOT_YOURS) return empty(403);
  if (reason === ErrorReason.INVALID_ARGUMENT) return empty(400);
  log.error({ err: error, requestId: trace.requestId }, "an update was not taken; Telegram will send it again");
  return empty(503);
}

function empty(status: number): Response {
  return new Response(null, { status });
}
