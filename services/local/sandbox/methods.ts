import { type Bot, botUser, type Webhook } from "./bots.ts";
import type { MethodName } from "./method-names.ts";
import { badRequest, type Refusal } from "./refusal.ts";
import { isTrue, type Parameters, structureOf, textOf } from "./request.ts";
import { sendMethod } from "./send.ts";
import type { World } from "./world.ts";

export interface Call {
  bot: Bot;
  /** As Telegram spells it. */
  method: string;
  parameters: Parameters;
  /** Monotonic, from `World.nowMs`. */
  arrivedMs: number;
  /** A webhook's HTTP reply can be a call too. */
  via: "call" | "webhook";
}

/** `result` of the answer, or why there is none. */
export type CallResult = { result: unknown } | Refusal;

export interface Method {
  name: MethodName;
  /** Sends are what the limits, the pace and the record are about. */
  isSend: boolean;
  run(world: World, call: Call): CallResult | Promise<CallResult>;
}

const maxKeptConnections = 40;

const list: readonly Method[] = [
  sendMethod("sendMessage"),
  sendMethod("sendPhoto"),
  sendMethod("sendVideo"),
  plain("getMe", (_, { bot }) => ({ result: getMe(bot) })),
  plain("answerCallbackQuery", answerCallbackQuery),
  plain("setWebhook", setWebhook),
  plain("deleteWebhook", (world, { bot }) => ({ result: replaceWebhook(world, bot, undefined) })),
  plain("getWebhookInfo", (_, { bot }) => ({ result: webhookInfo(bot.webhook) })),
];

const byName = new Map(list.map((method) => [method.name.toLowerCase(), method]));
for (const method of list) byName.set(method.name, method);

/** Names are taken in any case, as by Telegram. */
export function methodFromName(name: string): Method | undefined {
  return byName.get(name) ?? byName.get(name.toLowerCase());
}

function plain(name: MethodName, run: (world: World, call: Call) => CallResult): Method {
  return { name, isSend: false, run };
}

function getMe(bot: Bot): Record<string, unknown> {
  const abilities = { can_join_groups: true, can_read_all_group_messages: false, supports_inline_queries: false };
  return { ...botUser(bot), ...abilities, can_connect_to_business: false, has_main_web_app: false };
}

function answerCallbackQuery(world: World, { bot, parameters, via }: Call): CallResult {
  const id = textOf(parameters.callback_query_id);
  if (!bot.openQueries.delete(id)) {
    return badRequest("bad_query", "query is too old and response timeout expired or query ID is invalid");
  }
  const text = parameters.text === undefined ? undefined : textOf(parameters.text);
  const showAlert = isTrue(parameters.show_alert);
  world.record.answered({ bot: bot.id, callback_query_id: id, text, show_alert: showAlert, via });
  return { result: true };
}

function setWebhook(world: World, { bot, parameters }: Call): CallResult {
  const url = textOf(parameters.url);
  const secretToken = textOf(parameters.secret_token);
  if (url === "") return { result: replaceWebhook(world, bot, undefined) };
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    return badRequest("bad_webhook", "bad webhook: invalid webhook URL specified");
  }
  if (!/^[A-Za-z0-9_-]{0,256}$/.test(secretToken)) {
    return badRequest("bad_webhook", "secret token contains unallowed characters");
  }
  const wanted = structureOf(parameters.allowed_updates);
  const allowedUpdates = Array.isArray(wanted) ? wanted.map(String) : [];
  const maxConnections = Number(parameters.max_connections ?? maxKeptConnections);
  return { result: replaceWebhook(world, bot, { url, secretToken, allowedUpdates, maxConnections }) };
}

function replaceWebhook(world: World, bot: Bot, webhook: Webhook | undefined): true {
  bot.webhook = webhook;
  world.changed();
  return true;
}

function webhookInfo(webhook: Webhook | undefined): Record<string, unknown> {
  const empty = { url: "", has_custom_certificate: false, pending_update_count: 0 };
  if (!webhook) return empty;
  const info = { ...empty, url: webhook.url, max_connections: webhook.maxConnections };
  const allowed = webhook.allowedUpdates.length > 0 ? { allowed_updates: webhook.allowedUpdates } : {};
  const { lastError } = webhook;
  const failure = lastError ? { last_error_date: lastError.atSeconds, last_error_message: lastError.message } : {};
  return { ...info, ...allowed, ...failure };
}
