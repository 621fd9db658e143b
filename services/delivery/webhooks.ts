import type { Sql } from "#services/core/database/client.ts";
import { DomainError, ErrorReason, notYours } from "#services/platform/domain-error.ts";
import { selectWebhookBot, type WebhookBot } from "./store.ts";
import type { BotApi } from "./telegram.ts";

export interface WebhookOptions {
  sql: Sql;
  api: BotApi;
  openToken: (botId: number, sealed: string) => string;
  openSecret: (botId: number, sealed: string) => string;
  /** Where Telegram reaches the gateway; undefined if it does not. */
  publicUrl: string | undefined;
}

/** Calls that change a secret overlap at most so often. */
const MAX_ROUNDS = 5;

/**
 * Points a bot's webhook at the gateway, with the secret that is stored. Another one may be stored while Telegram is told, and two
 * calls may reach Telegram in either order: so each looks again after its own, and the last one to be heard is right.
 * Throws DomainError NOT_YOURS, NOT_SET_UP, TELEGRAM_REFUSED or UNAVAILABLE.
 */
export async function setWebhook(options: WebhookOptions, botId: number): Promise<void> {
  const { sql, publicUrl } = options;
  let bot = await selectWebhookBot(sql, botId);
  if (!bot) throw notYours("bot");
  if (publicUrl === undefined) {
    throw new DomainError(
      ErrorReason.NOT_SET_UP,
      "This system has no public address: set PUBLIC_URL, or pass the bot's updates to HandleUpdate.",
    );
  }
  const url = `${publicUrl.replace(/\/$/, "")}/telegram/${botId}`;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    await tellTelegram(options, botId, bot, url);
    const now = await selectWebhookBot(sql, botId);
    if (now === undefined || now.version === bot.version) return;
    bot = now;
  }
  throw noAnswer();
}

async function tellTelegram(
  { api, openToken, openSecret }: WebhookOptions,
  botId: number,
  { tokenSealed, plainSecret, secretSealed }: WebhookBot,
  url: string,
): Promise<void> {
  const secret = secretSealed === null ? plainSecret : openSecret(botId, secretSealed);
  const reply = await api.setWebhook(openToken(botId, tokenSealed), url, secret);
  if (reply.answer === "ok") return;
  if (reply.answer === "error") {
    throw new DomainError(ErrorReason.TELEGRAM_REFUSED, `Telegram refused the webhook: ${reply.description}`);
  }
  throw noAnswer();
}

function noAnswer(): DomainError {
  return new DomainError(ErrorReason.UNAVAILABLE, "Telegram did not answer: call again.");
}
