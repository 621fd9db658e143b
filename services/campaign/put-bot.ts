/**
 * PutBot: creates or replaces a bot by id, and decides whose number it is (services/core/bot/number.ts). A number is taken by
 * the write itself: of calls that want one at the same time the unique column lets one through, and the others look again
 * and find who has it.
 */
import type { Client } from "@connectrpc/connect";
import { type DeliveryService, TokenState } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { noteChange } from "#services/core/audit/record.ts";
import { releaseNumber } from "#services/core/bot/duplicate.ts";
import { NumberState, TOKEN_CHECK_CONTEXT } from "#services/core/bot/number.ts";
import { keepSequenceAhead } from "#services/core/database/assigned-id.ts";
import type { Drizzle, Sql } from "#services/core/database/client.ts";
import { constraintOf, retryCollisions } from "#services/core/database/retry.ts";
import { HoldReason } from "#services/core/ledger/send.ts";
import { passOn } from "#services/core/preview/preview.ts";
import { DomainError, ErrorReason, notYours } from "#services/platform/domain-error.ts";
import { type SecretBox, SecretError } from "#services/platform/secrets.ts";
import {
  type Bot,
  type BotInput,
  checkBotInput,
  checkToken,
  formerNumbersOf,
  numberTaken,
  paceFromInput,
  tokenContext,
  wantedNumber,
} from "./bot.ts";
import {
  accountExists,
  askAboutTokenNow,
  deleteLanes,
  insertBot,
  isServiceBot,
  lockBot,
  type NumberHolder,
  nextBotId,
  type Queries,
  selectHolder,
  someUnread,
  updateBot,
} from "./bot-store.ts";
import { newWebhookSecret } from "./webhook-secret.ts";

export interface PutBotContext {
  sql: Sql;
  db: Drizzle;
  secretBox: SecretBox;
  /** Asks Telegram about tokens. */
  delivery: Pick<Client<typeof DeliveryService>, "checkToken">;
  /** Called where numbers of stored bots are not known yet. */
  onUnread: () => void;
}

/** Enough for calls that take a number from each other by chance. */
const MAX_ATTEMPTS = 5;
const NUMBER_CONSTRAINT = "bot_number";

/** Somebody else has the number. Never leaves this file. */
class NumberHeldError extends Error {
  constructor(readonly holder: NumberHolder) {
    super("the number is held");
  }
}

/**
 * Creates or replaces a bot by id; id 0 assigns one. Calls again with the same bot change nothing: a token counts as
 * replaced only if it differs from the stored one.
 *
 * Throws DomainError INVALID_ARGUMENT (no token, or one of another bot), NOT_YOURS, WRONG_STATE (the number is taken), or
 * UNAVAILABLE (numbers are still being read, or Telegram had to be asked and did not answer).
 */
export async function putBot(context: PutBotContext, input: BotInput): Promise<Bot> {
  checkToken(input.token);
  await keepSequenceAhead(context.sql, "bot", input.id);
  for (let attempt = 1; ; attempt++) {
    try {
      return await retryCollisions(() => context.db.transaction((tx) => putLocked(tx, context, input)));
    } catch (error) {
      const collided = constraintOf(error) === NUMBER_CONSTRAINT;
      if (!collided && !(error instanceof NumberHeldError)) throw error;
      if (attempt === MAX_ATTEMPTS) throw numberTaken();
      if (error instanceof NumberHeldError) await freeNumber(context, input.token, error.holder);
    }
  }
}

async function putLocked(tx: Queries, context: PutBotContext, input: BotInput): Promise<Bot> {
  const { secretBox } = context;
  if (!(await accountExists(tx, input.accountId))) throw notYours("account");
  const stored = input.id === 0 ? undefined : await lockBot(tx, input.id);
  checkBotInput(input, stored);
  if (await someUnread(tx)) throw unread(context);
  const number = wantedNumber(input, stored);
  if (number !== undefined) await checkFree(tx, number, input.id);
  if (stored === undefined) return await createBot(tx, secretBox, input, number!);
  const replaced = input.token !== "" && input.token !== openToken(secretBox, stored);
  const bot: Bot = {
    ...stored,
    username: input.username,
    messagesPerSecond: paceFromInput(input.messagesPerSecond),
    ...(replaced && {
      tokenSealed: secretBox.encrypt(input.token, tokenContext(stored.id)),
      tokenVersion: stored.tokenVersion + 1,
    }),
    ...(number !== undefined && {
      number,
      numberState: NumberState.own,
      formerNumbers: formerNumbersOf(stored),
    }),
  };
  await updateBot(tx, bot);
  if (replaced) await deleteLanes(tx, bot.id, [HoldReason.tokenDead]);
  if (number !== undefined) await deleteLanes(tx, bot.id, [HoldReason.duplicate]);
  if (input.token !== "") await askAboutTokenNow(tx, bot.id);
  return bot;
}

function unread({ onUnread }: PutBotContext): DomainError {
  onUnread();
  const message = "The numbers of the bots that are stored are being read: try again in a moment.";
  return new DomainError(ErrorReason.UNAVAILABLE, message);
}

async function checkFree(tx: Queries, number: number, besides: number): Promise<void> {
  if (await isServiceBot(tx, number)) throw numberTaken();
  const holder = await selectHolder(tx, number, besides);
  if (holder !== undefined) throw new NumberHeldError(holder);
}

/**
 * Takes the number from its holder if Telegram refuses the holder's token and knows the new one: whoever has that is the
 * bot's owner now. The new token is asked about first, so that a stranger moves nothing.
 */
async function freeNumber(context: PutBotContext, token: string, holder: NumberHolder): Promise<void> {
  const held = openToken(context.secretBox, holder);
  if (held === undefined || held === token) throw numberTaken();
  if ((await tokenState(context, token)) !== TokenState.ALIVE) throw numberTaken();
  if ((await tokenState(context, held)) !== TokenState.DEAD) throw numberTaken();
  // False where it got another token meanwhile: the next attempt asks about that one.
  await releaseNumber(context.sql, holder);
}

async function tokenState({ secretBox, delivery }: PutBotContext, token: string): Promise<TokenState> {
  const { state } = await passOn(delivery.checkToken({ tokenSealed: secretBox.encrypt(token, TOKEN_CHECK_CONTEXT) }));
  if (state !== TokenState.UNSPECIFIED) return state;
  throw new DomainError(ErrorReason.UNAVAILABLE, "Telegram did not answer: put the bot again.");
}

async function createBot(tx: Queries, secretBox: SecretBox, input: BotInput, number: number): Promise<Bot> {
  const id = input.id === 0 ? await nextBotId(tx) : input.id;
  const bot: Bot = {
    id,
    accountId: input.accountId,
    username: input.username,
    tokenSealed: secretBox.encrypt(input.token, tokenContext(id)),
    tokenVersion: 1,
    messagesPerSecond: paceFromInput(input.messagesPerSecond),
    webhookSecretSealed: newWebhookSecret(secretBox, id),
    webhookVersion: 1,
    number,
    numberState: NumberState.own,
    formerNumbers: [],
  };
  await insertBot(tx, bot);
  noteChange({ object: { kind: "bot", id: String(id) } });
  return bot;
}

/** Undefined where the stored token cannot be opened any more, because its key is gone: any token is a new one then. */
function openToken(secretBox: SecretBox, { id, tokenSealed }: Pick<Bot, "id" | "tokenSealed">): string | undefined {
  try {
    return secretBox.decrypt(tokenSealed, tokenContext(id));
  } catch (error) {
    if (error instanceof SecretError) return undefined;
    throw error;
  }
}
