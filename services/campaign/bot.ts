import { NumberState, numberOfToken, UNKNOWN_NUMBER } from "#services/core/bot/number.ts";
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
  webhookSecretSealed: string | null;
  webhookVersion: number;
  /** Telegram's; null unless it is the row's own. */
  number: number | null;
  /** A NumberState. */
  numberState: number;
  formerNumbers: number[];
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

/** Refuses a token that no Bot API has given out. The message never holds it. */
export function checkToken(token: string): void {
  if (token === "" || numberOfToken(token) !== undefined) return;
  throw invalidToken("is not a Bot API token: give it as BotFather showed it");
}

/** Refuses what an upsert may not change about a stored bot, and a new bot without a token. */
export function checkBotInput(input: BotInput, stored: Pick<Bot, "accountId"> | undefined): void {
  if (stored !== undefined && stored.accountId !== input.accountId) throw notYours("bot");
  if (stored === undefined && input.token === "") throw invalidToken("is required for a new bot");
}

/**
 * The number that a call makes the row's own; undefined where it keeps what it has.
 * @throws DomainError INVALID_ARGUMENT for the token of another bot: it would not know this one's people.
 */
export function wantedNumber({ token }: BotInput, stored: Bot | undefined): number | undefined {
  const number = numberOfToken(token);
  if (number === undefined || stored === undefined || stored.numberState !== NumberState.own) return number;
  if (number === stored.number) return undefined;
  throw invalidToken("is the token of another bot, which cannot reach this one's people: make a new bot for it");
}

/** The numbers that a row stood for before it gets this one as its own. */
export function formerNumbersOf(stored: Bot): number[] {
  const { numberState, formerNumbers } = stored;
  return numberState === NumberState.unreadable ? [...formerNumbers, UNKNOWN_NUMBER] : formerNumbers;
}

/** The same words whoever has the number: nobody learns who that is. */
export function numberTaken(): DomainError {
  const field = "bot.token";
  return new DomainError(
    ErrorReason.WRONG_STATE,
    `${field}: this bot of Telegram's is connected already; give the token of another one`,
    { field },
  );
}

function invalidToken(problem: string): DomainError {
  const field = "bot.token";
  return new DomainError(ErrorReason.INVALID_ARGUMENT, `${field}: ${problem}`, { field });
}
