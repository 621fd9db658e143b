/**
 * Reads the numbers of bots that were stored before numbers were: the schema's migration has no keys, so it is done here at
 * the start, in batches. Each batch is a transaction under a lock that all copies share, and what is read stays read, so
 * a start may be killed and several may come at once.
 */
import { makeDuplicates } from "#services/core/bot/duplicate.ts";
import { NumberState, numberOfToken } from "#services/core/bot/number.ts";
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { retryCollisions } from "#services/core/database/retry.ts";
import type { Logger } from "#services/platform/log.ts";
import { type SecretBox, SecretError } from "#services/platform/secrets.ts";
import { tokenContext } from "./bot.ts";

export interface ReadNumbersOptions {
  sql: Sql;
  secretBox: SecretBox;
  log: Logger;
}

/** Any fixed number that nothing else locks. */
const NUMBERS_LOCK = 7_315_004;
/** A token is opened in some 10 µs: a batch holds its rows for a few milliseconds. */
const BATCH = 500;

/** Reads all that are unread. Repeatable. */
export async function readNumbers(options: ReadNumbersOptions): Promise<void> {
  while (await retryCollisions(() => options.sql.begin((tx) => readBatch(tx, options))));
}

interface Unread {
  id: number;
  tokenSealed: string;
}

/** Oldest first, so that of equal numbers the oldest row keeps it. @returns whether there may be more. */
async function readBatch(tx: TransactionSql, { secretBox, log }: ReadNumbersOptions): Promise<boolean> {
  await tx`SELECT pg_advisory_xact_lock(${NUMBERS_LOCK})`;
  const unread = await tx<Unread[]>`
    SELECT id, token_sealed AS "tokenSealed" FROM bot WHERE number_state = ${NumberState.unread}
    ORDER BY id LIMIT ${BATCH} FOR NO KEY UPDATE`;
  const read = unread.map(({ id, tokenSealed }) => ({ id, number: numberOf(secretBox, id, tokenSealed) }));
  const owners = await selectOwners(
    tx,
    read.flatMap(({ number }) => number ?? []),
  );
  const own: { id: number; number: number }[] = [];
  const duplicates: typeof own = [];
  for (const { id, number } of read) {
    if (number === undefined) continue;
    const taken = owners.has(number);
    (taken ? duplicates : own).push({ id, number });
    if (taken)
      log.warn({ botId: id, sameAsBotId: owners.get(number) }, "a bot has the number of another one: it is held");
    else owners.set(number, id);
  }
  const unreadable = read.filter(({ number }) => number === undefined).map(({ id }) => id);
  if (unreadable.length > 0) log.warn({ botIds: unreadable }, "no number can be read from the tokens of these bots");
  await updateOwn(tx, own);
  await makeDuplicates(tx, duplicates);
  await tx`UPDATE bot SET number_state = ${NumberState.unreadable} WHERE id = ANY(${unreadable}::bigint[])`;
  return unread.length === BATCH;
}

/** Undefined where no key opens the token, or where it was stored before tokens were looked at and is none. */
function numberOf(secretBox: SecretBox, botId: number, tokenSealed: string): number | undefined {
  try {
    return numberOfToken(secretBox.decrypt(tokenSealed, tokenContext(botId)));
  } catch (error) {
    if (error instanceof SecretError) return undefined;
    throw error;
  }
}

/** By number; the service bot's is 0. Its row is held: delivery names another one before or after. */
async function selectOwners(tx: TransactionSql, numbers: readonly number[]): Promise<Map<number, number>> {
  const rows = await tx<{ number: number; id: number }[]>`
    SELECT number, id FROM bot WHERE number = ANY(${[...numbers]}::bigint[])`;
  const [service] = await tx<{ number: number | null }[]>`SELECT number FROM service_bot WHERE id = 1 FOR SHARE`;
  const owners = new Map(rows.map(({ number, id }) => [number, id]));
  if (service?.number) owners.set(service.number, 0);
  return owners;
}

async function updateOwn(tx: TransactionSql, bots: readonly { id: number; number: number }[]): Promise<void> {
  await tx`
    UPDATE bot b SET number = k.number, number_state = ${NumberState.own}
    FROM unnest(${bots.map(({ id }) => id)}::bigint[], ${bots.map(({ number }) => number)}::bigint[]) AS k (id, number)
    WHERE b.id = k.id`;
}
