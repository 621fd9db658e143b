import { DomainError, ErrorReason, notYours } from "#services/platform/domain-error.ts";

/** A bot as a caller wants it. */
export interface BotInput {
  /** 0 assigns one. */
  id: number;
  accountId: number;
  /** Empty keeps the stored one. */
  token: string;
  username: string;
  messagesPerSecond: number;
}

/** A bot as stored. */
export interface Bot {
  id: number;
  accountId: number;
  username: string;
  tokenSealed: string;
  tokenVersion: number;
  messagesPerSecond: number;
  webhookSecret: string;
}

/** What the Bot API lets a bot send for free, in any second. */
const FREE_MESSAGES_PER_SECOND = 30;

/** 0 means the free pace. */
export function paceFromInput(messagesPerSecond: number): number {
  return messagesPerSecond === 0 ? FREE_MESSAGES_PER_SECOND : messagesPerSecond;
}

/** What a bot's token is sealed for: one that is copied to another row does not open. */
export function tokenContext(botId: number): string {
  return `bot:${botId}`;
}

/** A token stands in the path of every Bot API URL, so nothing that has a meaning there may be in it. */
const TOKEN = /^[A-Za-z0-9:_-]+$/;

/** Refuses a token that no Bot API has given out. The message never holds it. */
export function checkToken(token: string): void {
  if (token === "" || TOKEN.test(token)) return;
  throw invalidToken("is not a Bot API token: give it as BotFather showed it");
}

/** Refuses what an upsert may not change about a stored bot, and a new bot without a token. */
export function checkBotInput(input: BotInput, stored: Pick<Bot, "accountId"> | undefined): void {
  if (stored !== undefined && stored.accountId !== input.accountId) throw notYours("bot");
  if (stored === undefined && input.token === "") throw invalidToken("is required for a new bot");
}

function invalidToken(problem: string): DomainError {
  const field = "bot.token";
  return new DomainError(ErrorReason.INVALID_ARGUMENT, `${field}: ${problem}`, { field });
}
