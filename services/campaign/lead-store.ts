/** Statements about leads. All of them are raw: they carry people's data, which drizzle puts into its errors. */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import type { CampaignBot } from "./campaign-store.ts";
import type { LeadInput } from "./lead.ts";

/** Postgres' clock in microseconds since the Unix epoch: what callers' times are measured by, whatever our own says. */
export async function selectNowUs(sql: Sql): Promise<number> {
  const [row] = await sql<{ us: number }[]>`SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us`;
  return row!.us;
}

/** A lead that upsertLeads has written. */
export interface WrittenLead {
  id: number;
  chatId: number;
  /** Its entry now. */
  entry: number;
  /** Whether it entered its status in this statement. */
  entered: boolean;
  /** Whether it is new. */
  created: boolean;
}

/**
 * Creates or changes leads of one campaign and returns those that were written; one whose report is older than what is
 * stored, or says nothing new, is left alone and missing from the result.
 *
 * One statement, and sorted by chat: calls that overlap lock the leads, present and future, in one order, so they neither
 * deadlock nor make a lead twice. A new lead takes over what is known of its chat: the newest fact, or where there is none
 * what leads of the bot's other campaigns have stood with since before facts were kept. The rows without a create_time are looked up in a set of their own because `excluded` has only the table's columns.
 */
export async function upsertLeads(
  tx: TransactionSql,
  { id: campaignId, botId }: CampaignBot,
  leads: readonly LeadInput[],
): Promise<WrittenLead[]> {
  const undated = leads.filter((lead) => lead.createTimeUs === null).map((lead) => lead.chatId);
  return await tx<WrittenLead[]>`
    INSERT INTO lead AS l (id, campaign_id, bot_id, chat_id, status, status_time, created_time, unreachable,
      click, user_name, subscriber, username)
    SELECT coalesce(nullif(i.id, 0), nextval('lead_id_seq')), ${campaignId}, ${botId}, i.chat_id, i.status,
      timestamptz 'epoch' + i.status_us * interval '1 microsecond',
      timestamptz 'epoch' + coalesce(i.created_us, i.status_us) * interval '1 microsecond',
      coalesce((SELECT r.unreachable FROM reachability r WHERE r.bot_id = ${botId} AND r.chat_id = i.chat_id),
        (SELECT o.unreachable FROM lead o
          WHERE o.bot_id = ${botId} AND o.chat_id = i.chat_id AND o.unreachable <> 0 LIMIT 1), 0),
      i.click, i.user_name, i.subscriber, i.username
    FROM unnest(${leads.map((lead) => lead.id)}::bigint[], ${leads.map((lead) => lead.chatId)}::bigint[],
      ${leads.map((lead) => lead.status)}::smallint[], ${leads.map((lead) => lead.statusTimeUs)}::bigint[],
      ${leads.map((lead) => lead.createTimeUs)}::bigint[], ${leads.map((lead) => lead.click)}::text[],
      ${leads.map((lead) => lead.userName)}::text[], ${leads.map((lead) => lead.subscriber)}::text[],
      ${leads.map((lead) => lead.username)}::text[])
      AS i (id, chat_id, status, status_us, created_us, click, user_name, subscriber, username)
    ORDER BY i.chat_id
    ON CONFLICT (campaign_id, chat_id) DO UPDATE SET
      status = CASE WHEN excluded.status_time > l.status_time THEN excluded.status ELSE l.status END,
      entry = CASE WHEN excluded.status_time > l.status_time THEN l.entry + 1 ELSE l.entry END,
      status_time = excluded.status_time,
      created_time = CASE WHEN excluded.chat_id IN (SELECT unnest(${undated}::bigint[])) THEN l.created_time
        ELSE excluded.created_time END,
      click = excluded.click, user_name = excluded.user_name, subscriber = excluded.subscriber,
      username = excluded.username
    WHERE excluded.status_time > l.status_time OR (excluded.status_time = l.status_time AND (
      (excluded.click, excluded.user_name, excluded.subscriber, excluded.username)
        IS DISTINCT FROM (l.click, l.user_name, l.subscriber, l.username)
      OR (excluded.created_time <> l.created_time
        AND excluded.chat_id NOT IN (SELECT unnest(${undated}::bigint[])))))
    RETURNING l.id, l.chat_id AS "chatId", l.entry, (old.id IS NULL OR old.entry <> new.entry) AS entered,
      (old.id IS NULL) AS created`;
}

/** The ids of a campaign's leads by chat. */
export async function selectLeadIds(
  tx: TransactionSql,
  campaignId: number,
  chatIds: readonly number[],
): Promise<{ id: number; chatId: number }[]> {
  return await tx<{ id: number; chatId: number }[]>`
    SELECT l.id, l.chat_id AS "chatId" FROM unnest(${[...chatIds]}::bigint[]) AS k (chat_id)
    JOIN lead l ON l.campaign_id = ${campaignId} AND l.chat_id = k.chat_id`;
}

/** Of these ids, those that a lead of another campaign or another chat has. */
export async function selectTakenIds(sql: Sql, campaignId: number, leads: readonly LeadInput[]): Promise<Set<number>> {
  const named = leads.filter((lead) => lead.id !== 0);
  const rows = await sql<{ id: number }[]>`
    SELECT l.id FROM unnest(${named.map((lead) => lead.id)}::bigint[], ${named.map((lead) => lead.chatId)}::bigint[])
      AS k (id, chat_id)
    JOIN lead l ON l.id = k.id WHERE (l.campaign_id, l.chat_id) <> (${campaignId}::bigint, k.chat_id)`;
  return new Set(rows.map((row) => row.id));
}

/** Names one lead of one customer. */
export interface LeadRef {
  accountId: number;
  leadId: number;
}

/**
 * The campaign of a customer's lead, which never changes, and its bot, which stays for as long as there are leads. That of
 * a deleted campaign too: its leads can still be changed and erased.
 */
export async function selectCampaignOfLead(
  tx: TransactionSql,
  { accountId, leadId }: LeadRef,
): Promise<CampaignBot | undefined> {
  const [row] = await tx<CampaignBot[]>`
    SELECT c.id, c.bot_id AS "botId" FROM lead l JOIN campaign c ON c.id = l.campaign_id
    WHERE l.id = ${leadId} AND c.account_id = ${accountId}`;
  return row;
}

/** @returns the lead's new entry; undefined if the stored time was equal or newer. */
export async function updateLeadStatus(
  tx: TransactionSql,
  { leadId, status, statusTimeUs }: { leadId: number; status: number; statusTimeUs: number },
): Promise<number | undefined> {
  const [row] = await tx<{ entry: number }[]>`
    UPDATE lead SET status = ${status}, entry = entry + 1, status_time = k.at
    FROM (SELECT timestamptz 'epoch' + ${statusTimeUs}::bigint * interval '1 microsecond' AS at) AS k
    WHERE id = ${leadId} AND status_time < k.at RETURNING entry`;
  return row?.entry;
}

export async function leadExists(tx: TransactionSql, leadId: number): Promise<boolean> {
  const rows = await tx`SELECT 1 FROM lead WHERE id = ${leadId}`;
  return rows.length > 0;
}

/** A campaign has one lead per chat, so the lead's row stands for campaign and chat. Undefined if there is no such lead. */
export async function updateOptedOut(
  tx: TransactionSql,
  { accountId, leadId }: LeadRef,
): Promise<{ changed: boolean; campaignId: number; botId: number; chatId: number } | undefined> {
  const [row] = await tx<{ changed: boolean; campaignId: number; botId: number; chatId: number }[]>`
    UPDATE lead l SET opted_out = true FROM campaign c
    WHERE l.id = ${leadId} AND c.id = l.campaign_id AND c.account_id = ${accountId}
    RETURNING NOT old.opted_out AS changed, l.campaign_id AS "campaignId", l.bot_id AS "botId", l.chat_id AS "chatId"`;
  return row;
}

/** Held until the transaction ends. */
export async function lockLead(
  tx: TransactionSql,
  { accountId, leadId }: LeadRef,
): Promise<{ optedOut: boolean; campaignId: number; botId: number; chatId: number } | undefined> {
  const [row] = await tx<{ optedOut: boolean; campaignId: number; botId: number; chatId: number }[]>`
    SELECT l.opted_out AS "optedOut", l.campaign_id AS "campaignId", l.bot_id AS "botId", l.chat_id AS "chatId"
    FROM lead l JOIN campaign c ON c.id = l.campaign_id
    WHERE l.id = ${leadId} AND c.account_id = ${accountId} FOR NO KEY UPDATE OF l`;
  return row;
}
