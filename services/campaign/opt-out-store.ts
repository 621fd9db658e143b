/** Statements about opt-outs and erased leads. Hashes are in hex. */
import { NumberState, numberOfToken, UNKNOWN_NUMBER } from "#services/core/bot/number.ts";
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { type SecretBox, SecretError } from "#services/platform/secrets.ts";
import { tokenContext } from "./bot.ts";

/** What says under which numbers a bot's opt-outs are kept. */
export interface NumberedBot {
  botId: number;
  number: number | null;
  numberState: number;
  formerNumbers: number[];
  tokenSealed: string;
}

/**
 * The numbers that a bot has and had, the one first under which new opt-outs are kept. Where its number has not been read
 * yet the token says it.
 */
export function numbersOf(secretBox: SecretBox, bot: NumberedBot): number[] {
  const { number, numberState, formerNumbers } = bot;
  const own = number ?? (numberState === NumberState.unread ? readNumber(secretBox, bot) : formerNumbers.at(-1));
  return [...new Set([own ?? UNKNOWN_NUMBER, ...formerNumbers])];
}

function readNumber(secretBox: SecretBox, { botId, tokenSealed }: NumberedBot): number | undefined {
  try {
    return numberOfToken(secretBox.decrypt(tokenSealed, tokenContext(botId)));
  } catch (error) {
    if (error instanceof SecretError) return undefined;
    throw error;
  }
}

export async function selectNumberedBot(tx: TransactionSql, botId: number): Promise<NumberedBot> {
  const [row] = await tx<NumberedBot[]>`
    SELECT id AS "botId", number, number_state AS "numberState", former_numbers AS "formerNumbers",
      token_sealed AS "tokenSealed" FROM bot WHERE id = ${botId}`;
  return row!;
}

/** Remembers an opt-out of this moment. @returns whether it is new. */
export async function insertOptOut(tx: TransactionSql, hash: string): Promise<boolean> {
  const [row] = await tx<{ added: boolean }[]>`
    INSERT INTO opt_out (hash, received_at) VALUES (decode(${hash}, 'hex'), clock_timestamp())
    ON CONFLICT (hash) DO UPDATE SET received_at = excluded.received_at RETURNING old.hash IS NULL AS added`;
  return row!.added;
}

/** Remembers opt-outs that came in at some time before. One that is known keeps its time. */
export async function insertFormerOptOuts(tx: TransactionSql, hashes: readonly string[]): Promise<void> {
  await tx`
    INSERT INTO opt_out (hash) SELECT decode(k, 'hex') FROM unnest(${[...hashes]}::text[]) AS k ORDER BY k
    ON CONFLICT DO NOTHING`;
}

/** Whether anybody has ever unsubscribed: if not, there is nothing to look up. */
export async function someOptOut(tx: TransactionSql): Promise<boolean> {
  const [row] = await tx<{ some: boolean }[]>`SELECT EXISTS (SELECT FROM opt_out) AS some`;
  return row!.some;
}

/** Of these, those that are remembered. */
export async function selectOptOuts(tx: TransactionSql, hashes: readonly string[]): Promise<Set<string>> {
  const rows = await tx<{ hash: string }[]>`
    SELECT encode(o.hash, 'hex') AS hash FROM unnest(${[...hashes]}::text[]) AS k
    JOIN opt_out o ON o.hash = decode(k, 'hex')`;
  return new Set(rows.map(({ hash }) => hash));
}

/** Forgets those of these that came in no later than then, in microseconds since 1970. @returns how many. */
export async function deleteOptOuts(tx: TransactionSql, hashes: readonly string[], atUs: number): Promise<number> {
  const rows = await tx`
    DELETE FROM opt_out WHERE hash IN (SELECT decode(k, 'hex') FROM unnest(${[...hashes]}::text[]) AS k)
      AND coalesce(received_at <= timestamptz 'epoch' + ${atUs}::bigint * interval '1 microsecond', true) RETURNING 1`;
  return rows.length;
}

/** @returns whether that has changed the lead of this campaign and chat; undefined if there is none. */
export async function updateChatOptedOut(
  tx: TransactionSql,
  { campaignId, chatId }: { campaignId: number; chatId: number },
): Promise<boolean | undefined> {
  const [row] = await tx<{ changed: boolean }[]>`
    UPDATE lead SET opted_out = true WHERE campaign_id = ${campaignId} AND chat_id = ${chatId}
    RETURNING NOT old.opted_out AS changed`;
  return row?.changed;
}

export async function updateLeadsOptedOut(tx: TransactionSql, leadIds: readonly number[]): Promise<void> {
  await tx`UPDATE lead SET opted_out = true WHERE id = ANY(${[...leadIds]}::bigint[])`;
}

/** Names an erased lead, so that its id never stands for somebody else. */
export async function insertErasedLead(tx: TransactionSql, leadId: number, hash: string): Promise<void> {
  await tx`
    INSERT INTO erased_lead (lead_id, hash) VALUES (${leadId}, decode(${hash}, 'hex')) ON CONFLICT DO NOTHING`;
}

/** Of these ids, those that erased leads had, with whom they were of. */
export async function selectErasedLeads(tx: TransactionSql, leadIds: readonly number[]): Promise<Map<number, string>> {
  const rows = await tx<{ id: number; hash: string }[]>`
    SELECT lead_id AS id, encode(hash, 'hex') AS hash FROM erased_lead WHERE lead_id = ANY(${[...leadIds]}::bigint[])`;
  return new Map(rows.map(({ id, hash }) => [id, hash]));
}

/** How far the opt-outs of leads have been remembered; held until the transaction ends. */
export async function lockProgress(tx: TransactionSql, name: string): Promise<{ through: number; finished: boolean }> {
  await tx`INSERT INTO start_task (name) VALUES (${name}) ON CONFLICT DO NOTHING`;
  const [row] = await tx<{ through: number; finished: boolean }[]>`
    SELECT done_through AS through, finished_at IS NOT NULL AS finished FROM start_task WHERE name = ${name} FOR UPDATE`;
  return row!;
}

export async function updateProgress(tx: TransactionSql, name: string, through: number | undefined): Promise<void> {
  if (through === undefined) await tx`UPDATE start_task SET finished_at = now() WHERE name = ${name}`;
  else await tx`UPDATE start_task SET done_through = ${through} WHERE name = ${name}`;
}

/** The last of the next `limit` leads; undefined where there are no more. */
export async function selectWindowEnd(sql: TransactionSql, after: number, limit: number): Promise<number | undefined> {
  const [row] = await sql<{ end: number | null }[]>`
    SELECT max(id) AS end FROM (SELECT id FROM lead WHERE id > ${after} ORDER BY id LIMIT ${limit}) AS k`;
  return row?.end ?? undefined;
}

export interface OptedOutLead extends NumberedBot {
  campaignId: number;
  chatId: number;
}

/** Held, so that an opt-out that is lifted at this moment is not remembered after it. */
export async function selectOptedOut(
  tx: TransactionSql,
  { after, through }: { after: number; through: number },
): Promise<OptedOutLead[]> {
  return await tx<OptedOutLead[]>`
    SELECT l.campaign_id AS "campaignId", l.chat_id AS "chatId", b.id AS "botId", b.number,
      b.number_state AS "numberState", b.former_numbers AS "formerNumbers", b.token_sealed AS "tokenSealed"
    FROM lead l JOIN bot b ON b.id = l.bot_id
    WHERE l.id > ${after} AND l.id <= ${through} AND l.opted_out ORDER BY l.id FOR SHARE OF l`;
}

/** A tap's campaign with its bot, and the bot that the tap came in at. */
export interface TapTarget {
  campaignId: number;
  of: NumberedBot;
  at: NumberedBot;
  sameAccount: boolean;
}

/** Undefined where there is no such campaign. */
export async function selectTapTarget(sql: Sql, botId: number, campaignId: number): Promise<TapTarget | undefined> {
  const rows = await sql<(NumberedBot & { accountId: number; ofCampaign: boolean })[]>`
    SELECT b.id AS "botId", b.account_id AS "accountId", b.number, b.number_state AS "numberState",
      b.former_numbers AS "formerNumbers", b.token_sealed AS "tokenSealed", c.id IS NOT NULL AS "ofCampaign"
    FROM bot b LEFT JOIN campaign c ON c.id = ${campaignId} AND c.bot_id = b.id
    WHERE b.id = ${botId} OR c.id IS NOT NULL`;
  const of = rows.find(({ ofCampaign }) => ofCampaign);
  const at = rows.find((row) => row.botId === botId);
  if (of === undefined || at === undefined) return undefined;
  return { campaignId, of, at, sameAccount: of.accountId === at.accountId };
}
