import type { Sql } from "#services/database/client.ts";
import { DomainError, ErrorReason, notYours } from "#services/platform/domain-error.ts";
import { selectWebhookBot } from "./store.ts";
import type { BotApi } from "./telegram.ts";

export interface WebhookOptions {
  sql: Sql;
  api: BotApi;
  openToken: (botId: number, sealed: string) => string;
  /** Where Telegram reaches the gateway; undefined if it does not. */
  publicUrl: string | undefined;
}

/**
 * Points a bot's webhook at the gateway. Throws DomainError NOT_YOURS, NOT_SET_UP, TELEGRAM_REFUSED or UNAVAILABLE.
 */
export async function setWebhook({ sql, api, openToken, publicUrl }: WebhookOptions, botId: number): Promise<void> {
  const bot = await selectWebhookBot(sql, botId);
  if (!bot) throw notYours("bot");
  if (publicUrl === undefined) {
    throw new DomainError(
      ErrorReason.NOT_SET_UP,
      "This system has no public address: set PUBLIC_URL, or pass the bot's updates to HandleUpdate.",
    );
  }
  const url = `${publicUrl.replace(/\/$/, "")}/telegram/${botId}`;
  const reply = await api.setWebhook(openToken(botId, bot.tokenSealed), url, bot.webhookSecret);
  if (reply.answer === "ok") return;
  if (reply.answer === "error") {
    throw new DomainError(ErrorReason.TELEGRAM_REFUSED, `Telegram refused the webhook: ${reply.description}`);
  }
  throw new DomainError(ErrorReason.UNAVAILABLE, "Telegram did not answer: put the bot again.");
}
