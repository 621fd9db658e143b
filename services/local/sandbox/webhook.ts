import type { Api } from "./api.ts";
import { type Bot, botUser, type Webhook } from "./bots.ts";
import type { Delivery } from "./control.ts";
import type { Parameters } from "./request.ts";
import { chatObject } from "./send.ts";
import type { World } from "./world.ts";

export interface Updates {
  /** Sends one update to the bot's webhook, and makes the call that its reply asks for. Never throws. */
  deliver(bot: Bot, update: Record<string, unknown>): Promise<Delivery>;
  /** A tap on a button of that message, or of the chat's last. */
  tap(bot: Bot, chat: number, data: string, messageId: number | undefined): Promise<Delivery>;
  /** The person blocks the bot, or lets it write again. */
  setBlocked(bot: Bot, chat: number, blocked: boolean): Promise<Delivery>;
}

const answerTimeoutMs = 10_000;
const maxOpenQueries = 10_000;

export function createUpdates(world: World, api: Api): Updates {
  async function deliver(bot: Bot, update: Record<string, unknown>): Promise<Delivery> {
    const { webhook } = bot;
    if (!webhook) return { delivered: false, reason: "The bot has no webhook." };
    const kind = Object.keys(update).find((key) => key !== "update_id");
    if (webhook.allowedUpdates.length > 0 && !webhook.allowedUpdates.some((allowed) => allowed === kind)) {
      return { delivered: false, reason: `The webhook does not want ${kind}.` };
    }
    const updateId = ++bot.lastUpdateId;
    world.changed();
    try {
      return await post(bot, webhook, { update_id: updateId, ...update });
    } catch (error) {
      return failed(webhook, `No answer from the webhook: ${error instanceof Error ? error.name : "unknown"}.`);
    }
  }

  async function post(bot: Bot, webhook: Webhook, update: Record<string, unknown>): Promise<Delivery> {
    const secret = webhook.secretToken ? { "x-telegram-bot-api-secret-token": webhook.secretToken } : undefined;
    const reply = await fetch(webhook.url, {
      method: "POST",
      headers: { "content-type": "application/json", ...secret },
      body: JSON.stringify(update),
      redirect: "manual",
      signal: AbortSignal.timeout(answerTimeoutMs),
    });
    const body = await reply.text();
    if (!reply.ok) failed(webhook, `Wrong response from the webhook: ${reply.status}`);
    const delivery: Delivery = { delivered: true, status: reply.status, body };
    const asked = reply.ok ? askedCall(reply.headers.get("content-type") ?? "", body) : undefined;
    return asked ? { ...delivery, executed: await executed(bot, asked) } : delivery;
  }

  async function executed(bot: Bot, { method, ...parameters }: Parameters): Promise<Delivery["executed"]> {
    const result = await api.execute(bot, String(method), parameters);
    if ("kind" in result) return { method: String(method), status: result.status, description: result.description };
    return { method: String(method), status: 200 };
  }

  function failed(webhook: Webhook, message: string): Delivery {
    webhook.lastError = { atSeconds: Math.floor(Date.now() / 1_000), message };
    return { delivered: false, reason: message };
  }

  async function tap(bot: Bot, chat: number, data: string, messageId?: number): Promise<Delivery> {
    const chats = world.record.chats(bot.id);
    const target = messageId ?? chats.lastMessageId(chats.row(chat, false));
    if (target === 0) return { delivered: false, reason: "The chat has no message." };
    const id = crypto.randomUUID();
    const oldest = bot.openQueries.values().next().value;
    if (bot.openQueries.size >= maxOpenQueries && oldest !== undefined) bot.openQueries.delete(oldest);
    bot.openQueries.add(id);
    const message = tappedMessage(world, bot, chat, target);
    return deliver(bot, { callback_query: { id, from: person(chat), chat_instance: String(chat), message, data } });
  }

  async function setBlocked(bot: Bot, chat: number, blocked: boolean): Promise<Delivery> {
    if (blocked) bot.blockedBy.add(chat);
    else bot.blockedBy.delete(chat);
    world.changed();
    const before = { user: botUser(bot), status: blocked ? "member" : "kicked", ...(blocked ? {} : { until_date: 0 }) };
    const after = { user: botUser(bot), status: blocked ? "kicked" : "member", ...(blocked ? { until_date: 0 } : {}) };
    const date = Math.floor(Date.now() / 1_000);
    const change = { old_chat_member: before, new_chat_member: after };
    return deliver(bot, { my_chat_member: { chat: chatObject(chat), from: person(chat), date, ...change } });
  }

  return { deliver, tap, setBlocked };
}

/** A reply that names a method is a call; anything else is only an acknowledgement. */
function askedCall(contentType: string, body: string): Parameters | undefined {
  if (contentType.startsWith("application/x-www-form-urlencoded")) {
    const parameters = Object.fromEntries(new URLSearchParams(body));
    return parameters.method ? parameters : undefined;
  }
  if (!contentType.startsWith("application/json")) return undefined;
  try {
    const parameters: unknown = JSON.parse(body);
    const isCall = typeof parameters === "object" && parameters !== null && "method" in parameters;
    return isCall ? (parameters as Parameters) : undefined;
  } catch {
    return undefined;
  }
}

function tappedMessage(world: World, bot: Bot, chat: number, messageId: number): Record<string, unknown> {
  const found = world.record.messages({ bot: bot.id, chat, newest: true }).find((one) => one.message_id === messageId);
  const date = Math.floor((found?.wall_ms ?? Date.now()) / 1_000);
  const message = { message_id: messageId, from: botUser(bot), chat: chatObject(chat), date };
  if (!found) return message;
  const isText = found.method === "sendMessage";
  const said = isText
    ? { text: found.text, entities: found.entities }
    : { caption: found.text, caption_entities: found.entities };
  return { ...message, ...said, reply_markup: found.reply_markup };
}

function person(chat: number): Record<string, unknown> {
  return { id: chat, is_bot: false, first_name: `Person ${chat}`, language_code: "en" };
}
