/** Statements on broadcasts; transactions are in life-cycle.ts. */
import type { Fragment, Queryable, Sql, TransactionSql } from "#services/core/database/client.ts";
import { holdStands, isPaid, literal, todayBy } from "#services/core/ledger/predicates.ts";
import { ALL_BOTS, type HoldReason } from "#services/core/ledger/send.ts";
import { CampaignState, OPEN_STATES_SQL } from "#services/core/ledger/source.ts";
import { HOLD_ORDER_SQL } from "#services/core/ledger/store.ts";
import type { MessageBody } from "#services/core/message/body.ts";
import type { ParsedText } from "#services/core/message/markdown.ts";
import { type Audience, statusesOfMask } from "./audience.ts";
import { BroadcastState } from "./broadcast.ts";

/** A broadcast without its body. */
export interface BroadcastHead extends Audience {
  id: number;
  accountId: number;
  name: string;
  state: BroadcastState;
  sourceId: number;
  run: number;
  revision: number;
  acceptedRevision: number;
  faultRevision: number;
  faultLeads: number;
  faultWords: string;
  total: number;
  startedAt: Date | null;
  createdAt: Date;
  pauseReason: string;
}

export type BroadcastRow = BroadcastHead & MessageBody;

/** All of a head but its scope. */
function headColumns(sql: Queryable) {
  return sql`b.id, b.account_id AS "accountId", b.name, b.state, b.source_id AS "sourceId", b.run, b.revision,
    b.accepted_revision AS "acceptedRevision", b.fault_revision AS "faultRevision", b.fault_leads AS "faultLeads",
    b.fault_words AS "faultWords", b.total, b.started_at AS "startedAt", b.created_at AS "createdAt", b.pause_reason AS "pauseReason", b.statuses,
    b.created_from AS "createdFrom", b.created_to AS "createdTo", b.status_from AS "statusFrom",
    b.status_to AS "statusTo"`;
}

function columns(sql: Queryable) {
  return sql`${headColumns(sql)}, b.text, b.media, b.media_type AS "mediaType", b.button, b.link,
    ARRAY(SELECT s.campaign_id FROM broadcast_campaign s WHERE s.broadcast_id = b.id ORDER BY s.campaign_id)
      AS "campaignIds"`;
}

/** Newest first, those below `beforeId`; scopes are read apart. */
export async function selectHeads(
  sql: Queryable,
  accountId: number,
  { limit, beforeId }: { limit: number; beforeId: number },
): Promise<Omit<BroadcastHead, "campaignIds">[]> {
  return await sql<Omit<BroadcastHead, "campaignIds">[]>`
    SELECT ${headColumns(sql)} FROM broadcast b
    WHERE b.account_id = ${accountId} AND b.id < ${beforeId} ORDER BY b.id DESC LIMIT ${limit}`;
}

/** The campaigns of these broadcasts, of the newest broadcast first; no more than `limit` rows are read. */
export async function selectScopes(
  sql: Queryable,
  broadcastIds: number[],
  limit: number,
): Promise<{ broadcastId: number; campaignId: number }[]> {
  return await sql<{ broadcastId: number; campaignId: number }[]>`
    SELECT s.broadcast_id AS "broadcastId", s.campaign_id AS "campaignId" FROM broadcast_campaign s
    WHERE s.broadcast_id = ANY(${broadcastIds}::bigint[])
    ORDER BY s.broadcast_id DESC, s.campaign_id DESC LIMIT ${limit}`;
}

export async function selectBroadcast(
  sql: Queryable,
  accountId: number,
  broadcastId: number,
): Promise<BroadcastRow | undefined> {
  const [row] = await sql<BroadcastRow[]>`
    SELECT ${columns(sql)} FROM broadcast b WHERE b.id = ${broadcastId} AND b.account_id = ${accountId}`;
  return row;
}

/** Holds the row until the transaction ends. */
export async function lockBroadcast(
  tx: TransactionSql,
  accountId: number,
  broadcastId: number,
): Promise<BroadcastRow | undefined> {
  const [row] = await tx<BroadcastRow[]>`
    SELECT ${columns(tx)} FROM broadcast b
    WHERE b.id = ${broadcastId} AND b.account_id = ${accountId} FOR NO KEY UPDATE OF b`;
  return row;
}

export interface BroadcastRoom {
  /** How many the account has, in all states. */
  count: number;
  /** How many its tariff allows. */
  max: number;
}

/**
 * How many broadcasts the account has and may have. The account is held until the transaction ends, so that of two who ask
 * for the last place one sees the other's; undefined if there is no such account.
 */
export async function lockBroadcastRoom(tx: TransactionSql, accountId: number): Promise<BroadcastRoom | undefined> {
  const max = await lockAccount(tx, accountId);
  if (max === undefined) return undefined;
  // A statement of its own: it sees what was written while the first one waited.
  const [row] = await tx<{ count: number }[]>`
    SELECT count(*) AS count FROM broadcast WHERE account_id = ${accountId}`;
  return { count: row!.count, max };
}

/** Holds the account until the transaction ends. @returns how many broadcasts its tariff allows. */
export async function lockAccount(tx: TransactionSql, accountId: number): Promise<number | undefined> {
  const [row] = await tx<{ max: number }[]>`
    SELECT t.max_broadcasts AS max FROM account a JOIN tariff t ON t.id = a.tariff_id
    WHERE a.id = ${accountId} FOR NO KEY UPDATE OF a`;
  return row?.max;
}

export async function insertBroadcast(tx: TransactionSql, accountId: number, name: string): Promise<number> {
  const [row] = await tx<{ id: number }[]>`
    INSERT INTO broadcast (account_id, name, source_id) VALUES (${accountId}, ${name}, nextval('source_id_seq'))
    RETURNING id`;
  return row!.id;
}

/** Whose campaigns these are that are not deleted: the ids that the account may name. */
export async function selectOwnCampaigns(sql: Queryable, accountId: number, ids: number[]): Promise<Set<number>> {
  const rows = await sql<{ id: number }[]>`
    SELECT id FROM campaign WHERE account_id = ${accountId} AND state <> ${literal(sql, CampaignState.deleted)}
      AND id = ANY(${ids}::bigint[])`;
  return new Set(rows.map((row) => row.id));
}

export interface BroadcastFields {
  name: string;
  audience: Audience;
  body: MessageBody;
  parsed: ParsedText;
}

/** Replaces name, filters and body; a changed body is a new revision. */
export async function updateFields(tx: TransactionSql, broadcastId: number, fields: BroadcastFields): Promise<void> {
  const { audience, body } = fields;
  await tx`
    UPDATE broadcast SET name = ${fields.name}, statuses = ${audience.statuses}, created_from = ${audience.createdFrom},
      created_to = ${audience.createdTo}, status_from = ${audience.statusFrom}, status_to = ${audience.statusTo},
      revision = revision + CASE WHEN (text, media, media_type, button, link)
        IS DISTINCT FROM (${body.text}, ${body.media}, ${body.mediaType}::smallint, ${body.button}, ${body.link})
        THEN 1 ELSE 0 END,
      text = ${body.text}, parsed = ${tx.json(fields.parsed as never)}, media = ${body.media},
      media_type = ${body.mediaType}, button = ${body.button}, link = ${body.link}
    WHERE id = ${broadcastId}`;
}

export async function replaceScope(tx: TransactionSql, broadcastId: number, campaignIds: number[]): Promise<void> {
  await tx`
    DELETE FROM broadcast_campaign WHERE broadcast_id = ${broadcastId} AND campaign_id <> ALL(${campaignIds}::bigint[])`;
  await tx`
    INSERT INTO broadcast_campaign (broadcast_id, campaign_id)
    SELECT ${broadcastId}::bigint, k FROM unnest(${campaignIds}::bigint[]) AS k ON CONFLICT DO NOTHING`;
}

/** Forgets what a body met: the owner resumed without an edit. */
export async function clearFaults(tx: TransactionSql, broadcastId: number): Promise<void> {
  await tx`UPDATE broadcast SET fault_revision = 0, fault_leads = 0 WHERE id = ${broadcastId}`;
}

/**
 * The audience as FROM and WHERE over `lead l`. Bounds are whole seconds and inclusive, so the upper ones run to the end of
 * their second. Served from the index lead_audience alone where only its columns are asked for.
 */
export function audienceOf(accountId: number, audience: Audience): (sql: Queryable) => Fragment {
  return (sql) => sql`
    FROM lead l
    WHERE l.campaign_id = ANY(ARRAY(
        SELECT c.id FROM campaign c WHERE c.account_id = ${accountId} AND c.state <> ${literal(sql, CampaignState.deleted)}
          AND (${audience.campaignIds.length === 0} OR c.id = ANY(${audience.campaignIds}::bigint[]))))
      AND l.status = ANY(${statusesOfMask(audience.statuses)}::smallint[])
      AND l.unreachable = 0 AND NOT l.opted_out
      AND l.created_time >= coalesce(${audience.createdFrom}::timestamptz, '-infinity')
      AND l.created_time < coalesce(${audience.createdTo}::timestamptz + interval '1 second', 'infinity')
      AND l.status_time >= coalesce(${audience.statusFrom}::timestamptz, '-infinity')
      AND l.status_time < coalesce(${audience.statusTo}::timestamptz + interval '1 second', 'infinity')`;
}

export async function countAudience(sql: Queryable, accountId: number, audience: Audience): Promise<number> {
  const [row] = await sql<{ n: number }[]>`SELECT count(*) AS n ${audienceOf(accountId, audience)(sql)}`;
  return row!.n;
}

/** Opens the next run. */
export async function updateStarted(
  tx: TransactionSql,
  broadcastId: number,
  run: number,
  total: number,
): Promise<void> {
  await tx`
    UPDATE broadcast SET state = ${BroadcastState.running}, run = ${run}, epoch = epoch + 1, total = ${total},
      started_at = now(), pause_reason = '', fault_revision = 0, fault_leads = 0
    WHERE id = ${broadcastId}`;
}

/** Writes a new state; pausing by the system carries its reason. */
export async function updateState(
  tx: TransactionSql,
  broadcastId: number,
  state: BroadcastState,
  pauseReason = "",
): Promise<void> {
  await tx`
    UPDATE broadcast SET state = ${state}, epoch = epoch + 1, pause_reason = ${pauseReason} WHERE id = ${broadcastId}`;
}

/** A new generation with an empty ledger; the old source's rows are deleted in the background. */
export async function updateReset(tx: TransactionSql, broadcastId: number): Promise<void> {
  await tx`
    UPDATE broadcast SET state = ${BroadcastState.draft}, epoch = epoch + 1, source_id = nextval('source_id_seq'),
      total = 0, started_at = NULL, pause_reason = '', accepted_revision = 0, fault_revision = 0, fault_leads = 0
    WHERE id = ${broadcastId}`;
}

export async function deleteBroadcast(tx: TransactionSql, broadcastId: number): Promise<void> {
  await tx`DELETE FROM broadcast WHERE id = ${broadcastId}`;
}

/** The cap and what is used of it on the UTC day of Postgres' clock. */
export async function selectQuota(
  sql: Sql,
  accountId: number,
  offsetMs: number,
): Promise<{ cap: number; used: number } | undefined> {
  const [row] = await sql<{ cap: number; used: number }[]>`
    SELECT t.daily_cap AS cap, coalesce(q.used, 0) AS used
    FROM account a JOIN tariff t ON t.id = a.tariff_id
    LEFT JOIN quota_day q ON q.account_id = a.id
      AND q.day = ${todayBy(sql, offsetMs)}
    WHERE a.id = ${accountId}`;
  return row;
}

/** The sources whose queued sends the gauge adds up: open broadcasts and blocks. */
export async function selectQueuedSources(sql: Queryable, accountId: number): Promise<number[]> {
  const rows = await sql<{ sourceId: number }[]>`
    SELECT source_id AS "sourceId" FROM broadcast WHERE account_id = ${accountId} AND state IN ${sql.unsafe(OPEN_STATES_SQL)}
    UNION ALL
    SELECT b.source_id FROM block b JOIN campaign c ON c.id = b.campaign_id WHERE c.account_id = ${accountId}`;
  return rows.map((row) => row.sourceId);
}

/** Sources of open broadcasts, newest first. */
export async function selectOpenSources(sql: Sql, limit: number): Promise<number[]> {
  const rows = await sql<{ sourceId: number }[]>`
    SELECT source_id AS "sourceId" FROM broadcast WHERE state IN ${sql.unsafe(OPEN_STATES_SQL)}
    ORDER BY id DESC LIMIT ${limit}`;
  return rows.map((row) => row.sourceId);
}

export interface Standing {
  paid: boolean;
  feature: boolean;
  cap: number;
  used: number;
  /** The next 00:00 UTC. */
  midnight: Date;
}

/** Whether an account's manual messages may go out now, and when its day ends. */
export async function selectStanding(sql: Sql, accountId: number, offsetMs: number): Promise<Standing | undefined> {
  const [row] = await sql<Standing[]>`
    SELECT ${isPaid(sql, offsetMs)} AS paid, t.broadcasts AS feature, t.daily_cap AS cap,
      coalesce(q.used, 0) AS used, (t0.today + 1)::timestamp AT TIME ZONE 'utc' AS midnight
    FROM account a JOIN tariff t ON t.id = a.tariff_id
    CROSS JOIN (SELECT ${todayBy(sql, offsetMs)} AS today) AS t0
    LEFT JOIN quota_day q ON q.account_id = a.id AND q.day = t0.today
    WHERE a.id = ${accountId}`;
  return row;
}

export interface HeldBot {
  botId: number;
  reason: HoldReason;
  message: string;
  until: Date | null;
}

/** The account's bots that may not send now, each with the hold that decides; at most 100. */
export async function selectHeldBots(sql: Sql, accountId: number, offsetMs: number): Promise<HeldBot[]> {
  return await sql<HeldBot[]>`
    SELECT DISTINCT ON (l.bot_id) l.bot_id AS "botId", l.reason, l.message, l.hold_until AS until
    FROM lane l LEFT JOIN bot b ON b.id = l.bot_id
    WHERE (b.account_id = ${accountId} OR l.bot_id = ${ALL_BOTS})
      AND ${holdStands(sql, "l", offsetMs)}
    ORDER BY l.bot_id, array_position(${sql.unsafe(HOLD_ORDER_SQL)}, l.reason) LIMIT 100`;
}
