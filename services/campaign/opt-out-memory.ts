/**
 * Who has unsubscribed from what outlives the person's lead: it is kept as a keyed hash of the bot's number, the campaign and
 * the chat. Nobody reads people out of it, as a chat's id is easily guessed but the key is not: it is made once, stored
 * sealed, opened by campaign alone, and never changed, or nothing that is kept would be found again.
 */
import { createHmac, randomBytes } from "node:crypto";
import type { Sql } from "#services/core/database/client.ts";
import { ConfigError } from "#services/platform/config.ts";
import { ownSecretContext } from "#services/platform/secret-contexts.ts";
import { type SecretBox, SecretError } from "#services/platform/secrets.ts";

export interface OptOutMemory {
  /** Of a chat that has unsubscribed from a campaign of a bot with this number. In hex, as all of these. */
  optOutHash(number: number, campaignId: number, chatId: number): string;
  /** Of whom an erased lead was of. */
  personHash(campaignId: number, chatId: number): string;
}

export function createOptOutMemory(key: Uint8Array): OptOutMemory {
  const hash = (text: string) => createHmac("sha256", key).update(text).digest("hex");
  return {
    optOutHash: (number, campaignId, chatId) => hash(`opt-out:${number}:${campaignId}:${chatId}`),
    personHash: (campaignId, chatId) => hash(`lead:${campaignId}:${chatId}`),
  };
}

/** In `sealed_secret`, which is resealed as a whole. */
const OPT_OUT_KEY_NAME = "opt_out_key";
const OPT_OUT_KEY_CONTEXT = ownSecretContext(OPT_OUT_KEY_NAME);
const KEY_BYTES = 32;

/**
 * Opens the memory with the key of this database, which the very first start makes. Of several starts at once one makes it.
 * @throws ConfigError where the key cannot be opened, or is gone: with another one every opt-out would be forgotten.
 */
export async function openOptOutMemory(sql: Sql, secretBox: SecretBox): Promise<OptOutMemory> {
  const sealed = (await selectSealedKey(sql)) ?? (await makeKey(sql, secretBox));
  try {
    return createOptOutMemory(Buffer.from(secretBox.decrypt(sealed, OPT_OUT_KEY_CONTEXT), "base64"));
  } catch (error) {
    if (!(error instanceof SecretError)) throw error;
    throw new ConfigError([`SECRET_KEYS: the memory of opt-outs cannot be opened: ${error.message}`]);
  }
}

async function selectSealedKey(sql: Sql): Promise<string | undefined> {
  const [row] = await sql<{ sealed: string }[]>`SELECT sealed FROM sealed_secret WHERE name = ${OPT_OUT_KEY_NAME}`;
  return row?.sealed;
}

async function makeKey(sql: Sql, secretBox: SecretBox): Promise<string> {
  const sealed = secretBox.encrypt(randomBytes(KEY_BYTES).toString("base64"), OPT_OUT_KEY_CONTEXT);
  await sql`
    INSERT INTO sealed_secret (name, sealed) SELECT ${OPT_OUT_KEY_NAME}, ${sealed}
    WHERE NOT EXISTS (SELECT FROM opt_out) AND NOT EXISTS (SELECT FROM erased_lead) ON CONFLICT DO NOTHING`;
  const stored = await selectSealedKey(sql);
  if (stored !== undefined) return stored;
  const problem = `the table sealed_secret has lost its row ${OPT_OUT_KEY_NAME}, without which no opt-out is remembered`;
  throw new ConfigError([`DATABASE_URL: ${problem}: restore it from a backup`]);
}
