import { randomBytes } from "node:crypto";
import { noteChange } from "#services/audit/record.ts";
import { keepSequenceAhead } from "#services/database/assigned-id.ts";
import type { Drizzle, Sql } from "#services/database/client.ts";
import { retryCollisions } from "#services/database/retry.ts";
import { notYours } from "#services/platform/domain-error.ts";
import { type SecretBox, SecretError } from "#services/platform/secrets.ts";
import { type Bot, type BotInput, checkBotInput, checkToken, paceFromInput, tokenContext } from "./bot.ts";
import {
  accountExists,
  deleteDeadTokenLane,
  insertBot,
  lockBot,
  nextBotId,
  type Queries,
  updateBot,
} from "./bot-store.ts";

interface PutBotContext {
  sql: Sql;
  db: Drizzle;
  secretBox: SecretBox;
}

/**
 * Creates or replaces a bot by id; id 0 assigns one. Calls again with the same bot change nothing: a token counts as
 * replaced only if it differs from the stored one.
 */
export async function putBot({ sql, db, secretBox }: PutBotContext, input: BotInput): Promise<Bot> {
  checkToken(input.token);
  await keepSequenceAhead(sql, "bot", input.id);
  return await retryCollisions(() => db.transaction((tx) => putLocked(tx, secretBox, input)));
}

async function putLocked(tx: Queries, secretBox: SecretBox, input: BotInput): Promise<Bot> {
  if (!(await accountExists(tx, input.accountId))) throw notYours("account");
  const stored = input.id === 0 ? undefined : await lockBot(tx, input.id);
  checkBotInput(input, stored);
  if (stored === undefined) return await createBot(tx, secretBox, input);
  const replaced = input.token !== "" && input.token !== openToken(secretBox, stored);
  const bot: Bot = {
    ...stored,
    username: input.username,
    messagesPerSecond: paceFromInput(input.messagesPerSecond),
    ...(replaced && {
      tokenSealed: secretBox.encrypt(input.token, tokenContext(stored.id)),
      tokenVersion: stored.tokenVersion + 1,
    }),
  };
  await updateBot(tx, bot);
  if (replaced) await deleteDeadTokenLane(tx, bot.id);
  return bot;
}

async function createBot(tx: Queries, secretBox: SecretBox, input: BotInput): Promise<Bot> {
  const id = input.id === 0 ? await nextBotId(tx) : input.id;
  const bot: Bot = {
    id,
    accountId: input.accountId,
    username: input.username,
    tokenSealed: secretBox.encrypt(input.token, tokenContext(id)),
    tokenVersion: 1,
    messagesPerSecond: paceFromInput(input.messagesPerSecond),
    // Telegram takes A–Z, a–z, 0–9, _ and -, up to 256 of them.
    webhookSecret: randomBytes(32).toString("base64url"),
  };
  await insertBot(tx, bot);
  noteChange({ object: { kind: "bot", id: String(id) } });
  return bot;
}

/** Undefined where the stored token cannot be opened any more, because its key is gone: any token is a new one then. */
function openToken(secretBox: SecretBox, { id, tokenSealed }: Bot): string | undefined {
  try {
    return secretBox.decrypt(tokenSealed, tokenContext(id));
  } catch (error) {
    if (error instanceof SecretError) return undefined;
    throw error;
  }
}
