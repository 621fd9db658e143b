/** The ledger's statements, one function each. Transactions and their order of locks are in claim.ts and settle.ts. */
import type { TransactionSql } from "#services/core/database/client.ts";
import { column } from "./column.ts";
import { holdStands, isPaid, isQueued, isSendable, isTime, mayBeMessaged, nowBy, todayBy } from "./predicates.ts";
import { ALL_BOTS, HOLD_ORDER, type HoldReason, SendKind, SendReason, SendState } from "./send.ts";
import { BlockState, type BroadcastState, CampaignState } from "./source.ts";
import { CURRENT_TIMELINE } from "./timeline.ts";

/** A body as it was stored: parsed at save, with macros still in it. */
export interface StoredBody {
  revision: number;
  parsed: { text: string; entities: unknown[] };
  media: string;
  mediaType: number;
  button: string;
  link: string;
}

/** What decides about the sends of one source: a running broadcast, or a block. */
export interface SourceRow extends StoredBody {
  sourceId: number;
  accountId: number;
  /** For broadcasts: the id; for blocks: the campaign's. */
  ownerId: number;
  state: number;
  run: number;
  acceptedRevision: number;
  /** Blocks: the status whose entry is followed up; −1 for broadcasts. */
  status: number;
  paid: boolean;
  feature: boolean;
  dailyCap: number;
  /** The UTC day of the transaction at Postgres' clock, as YYYY-MM-DD. */
  today: string;
}

/**
 * The shards that this owner still holds under the fences it was told; held until the transaction ends. None where Postgres
 * writes on another timeline than this one: a replica was promoted, and may have forgotten what was sent.
 *
 * KEY SHARE keeps out a new owner, who takes the row FOR UPDATE, but not the renewal: with SHARE, claims that overlap would
 * keep their own replica's renewal waiting until the lease is lost.
 */
export async function lockLeases(
  tx: TransactionSql,
  role: number,
  leases: ReadonlyMap<number, number>,
  timeline: number | undefined,
): Promise<Set<number>> {
  const rows = await tx<{ shard: number }[]>`
    SELECT l.shard FROM shard_lease l
    JOIN unnest(${[...leases.keys()]}::smallint[], ${[...leases.values()]}::bigint[]) AS k (shard, fence)
      ON l.shard = k.shard AND l.fence = k.fence
    WHERE l.role = ${role} AND l.expires_at > clock_timestamp()
      AND (${timeline ?? null}::int IS NULL OR ${timeline ?? null}::int = (SELECT ${tx.unsafe(CURRENT_TIMELINE)}))
    FOR KEY SHARE OF l`;
  return new Set(rows.map((row) => row.shard));
}

export async function selectBroadcastSources(
  tx: TransactionSql,
  sourceIds: number[],
  offsetMs: number,
): Promise<SourceRow[]> {
  if (sourceIds.length === 0) return [];
  return await tx<SourceRow[]>`
    SELECT b.source_id AS "sourceId", b.account_id AS "accountId", b.id AS "ownerId", b.state, b.run, b.revision,
      b.accepted_revision AS "acceptedRevision", -1 AS status, b.parsed, b.media, b.media_type AS "mediaType", b.button,
      b.link, ${isPaid(tx, offsetMs)} AS paid, t.broadcasts AS feature, t.daily_cap AS "dailyCap",
      ${todayBy(tx, offsetMs)}::text AS today
    FROM broadcast b JOIN account a ON a.id = b.account_id JOIN tariff t ON t.id = a.tariff_id
    WHERE b.source_id = ANY(${sourceIds}::bigint[])`;
}

/** `state` is a BlockState. */
export async function lockBlockSources(
  tx: TransactionSql,
  sourceIds: number[],
  offsetMs: number,
): Promise<SourceRow[]> {
  if (sourceIds.length === 0) return [];
  return await tx<SourceRow[]>`
    SELECT b.source_id AS "sourceId", c.account_id AS "accountId", c.id AS "ownerId",
      CASE WHEN c.state <> ${CampaignState.live} THEN ${BlockState.campaignNotLive}::int
        WHEN b.on THEN ${BlockState.on}::int ELSE ${BlockState.off}::int END AS state, 0 AS run, b.revision,
      b.revision AS "acceptedRevision", b.status, b.parsed, b.media, b.media_type AS "mediaType", b.button, b.link,
      ${isPaid(tx, offsetMs)} AS paid, t.broadcasts AS feature, t.daily_cap AS "dailyCap",
      ${todayBy(tx, offsetMs)}::text AS today
    FROM block b JOIN campaign c ON c.id = b.campaign_id JOIN account a ON a.id = c.account_id
    JOIN tariff t ON t.id = a.tariff_id
    WHERE b.source_id = ANY(${sourceIds}::bigint[])
    ORDER BY b.source_id FOR SHARE OF b SKIP LOCKED`;
}

export interface BotRow {
  botId: number;
  accountId: number;
  tokenSealed: string;
  tokenVersion: number;
  messagesPerSecond: number;
  holdReason: HoldReason;
  holdMessage: string;
  /** Null: no hold, or one without a known end. */
  holdUntil: Date | null;
}

/** As a literal: an array of smallint, whose places are the order. */
export const HOLD_ORDER_SQL = `'{${HOLD_ORDER.join(",")}}'::smallint[]`;

/** Bots with what stands in their lanes' way now: the first of their holds. One that has passed is no hold. */
export async function selectBots(tx: TransactionSql, botIds: number[], offsetMs: number): Promise<BotRow[]> {
  return await tx<BotRow[]>`
    SELECT b.id AS "botId", b.account_id AS "accountId", b.token_sealed AS "tokenSealed",
      b.token_version AS "tokenVersion", b.messages_per_second AS "messagesPerSecond",
      coalesce(l.reason, 0) AS "holdReason", coalesce(l.message, '') AS "holdMessage", l.hold_until AS "holdUntil"
    FROM bot b LEFT JOIN LATERAL (
      SELECT h.* FROM lane h WHERE h.bot_id IN (${ALL_BOTS}, b.id)
        AND ${holdStands(tx, "h", offsetMs)}
      ORDER BY array_position(${tx.unsafe(HOLD_ORDER_SQL)}, h.reason) LIMIT 1) AS l ON true
    WHERE b.id = ANY(${botIds}::bigint[])`;
}

/** Holds the day's rows of these accounts and returns what is used. */
export async function lockQuota(tx: TransactionSql, accountIds: number[], day: string): Promise<Map<number, number>> {
  const rows = await lockQuotaRows(tx, accountIds, day);
  if (rows.length === accountIds.length) return usedOf(rows);
  // The day's first: made, and read by a statement with a snapshot of its own.
  await tx`
    INSERT INTO quota_day (account_id, day) SELECT k, ${day}::date FROM unnest(${accountIds}::bigint[]) AS k ORDER BY k
    ON CONFLICT DO NOTHING`;
  return usedOf(await lockQuotaRows(tx, accountIds, day));
}

interface QuotaRow {
  accountId: number;
  used: number;
}

function usedOf(rows: QuotaRow[]): Map<number, number> {
  return new Map(rows.map((row) => [row.accountId, row.used]));
}

async function lockQuotaRows(tx: TransactionSql, accountIds: number[], day: string): Promise<QuotaRow[]> {
  return await tx<QuotaRow[]>`
    SELECT account_id AS "accountId", used FROM quota_day
    WHERE day = ${day}::date AND account_id = ANY(${accountIds}::bigint[])
    ORDER BY account_id FOR UPDATE`;
}

/** Adds to what is used; negative numbers give back. Sorted, so that two give-backs do not deadlock. */
export async function addQuota(
  tx: TransactionSql,
  changes: { accountId: number; day: string; used: number }[],
): Promise<void> {
  const sorted = changes
    .filter((c) => c.used !== 0)
    .sort((a, b) => a.accountId - b.accountId || (a.day < b.day ? -1 : 1));
  if (sorted.length === 0) return;
  await tx`
    UPDATE quota_day q SET used = q.used + k.used
    FROM unnest(${sorted.map((c) => c.accountId)}::bigint[], ${sorted.map((c) => c.day)}::date[],
      ${sorted.map((c) => c.used)}::int[]) AS k (account_id, day, used)
    WHERE q.account_id = k.account_id AND q.day = k.day`;
}

/** The jobs and the open gates, as columns for unnest. */
export interface ClaimInput {
  token: number;
  /** Null where nothing counts against a day. */
  day: string | null;
  offsetMs: number;
  jobs: { sourceId: number; leadId: number; entry: number; botId: number }[];
  sources: {
    sourceId: number;
    run: number;
    revision: number;
    acceptedRevision: number;
    status: number;
    rescueMs: number;
  }[];
}

export interface ClaimedRow {
  sourceId: number;
  leadId: number;
  entry: number;
  botId: number;
  attempts: number;
  chatId: number;
  status: number;
  click: string;
  userName: string;
  subscriber: string;
  username: string;
  campaignId: number;
  campaignCode: string;
}

/** The claim itself: queued → sending for every job whose row and lead may be messaged now. */
export async function updateToSending(tx: TransactionSql, input: ClaimInput): Promise<ClaimedRow[]> {
  const { jobs, sources } = input;
  return await tx<ClaimedRow[]>`
    UPDATE send s SET state = ${SendState.sending}, claim_token = ${input.token},
      rescue_at = clock_timestamp() + g.rescue_ms * interval '1 ms', revision = g.revision,
      quota_day = CASE WHEN s.kind = ${SendKind.broadcast} THEN ${input.day}::date END, attempts = least(s.attempts + 1, 32767),
      reason = 0, due_at = NULL, settled_at = NULL
    FROM unnest(${column(jobs, "sourceId")}::text::bigint[], ${column(jobs, "leadId")}::text::bigint[],
      ${column(jobs, "entry")}::text::int[], ${column(jobs, "botId")}::text::bigint[])
      AS k (source_id, lead_id, entry, bot_id)
    JOIN unnest(${column(sources, "sourceId")}::text::bigint[], ${column(sources, "run")}::text::int[],
      ${column(sources, "revision")}::text::int[], ${column(sources, "acceptedRevision")}::text::int[],
      ${column(sources, "status")}::text::smallint[], ${column(sources, "rescueMs")}::text::float8[])
      AS g (source_id, run, revision, accepted_revision, status, rescue_ms) ON g.source_id = k.source_id
    JOIN lead l ON l.id = k.lead_id
    JOIN campaign c ON c.id = l.campaign_id
    WHERE s.source_id = k.source_id AND s.lead_id = k.lead_id AND s.entry = k.entry AND s.bot_id = k.bot_id
      AND ${isSendable(tx, "g", input.offsetMs)} AND ${mayBeMessaged(tx)}
    RETURNING s.source_id AS "sourceId", s.lead_id AS "leadId", s.entry, s.bot_id AS "botId", s.attempts,
      l.chat_id AS "chatId", l.status, l.click, l.user_name AS "userName", l.subscriber, l.username,
      c.id AS "campaignId", c.code AS "campaignCode"`;
}

export interface DroppedRow {
  sourceId: number;
  leadId: number;
  entry: number;
  botId: number;
  reason: SendReason;
}

/** queued → dropped for the jobs whose lead may not be messaged any more. */
export async function updateToDropped(tx: TransactionSql, input: ClaimInput): Promise<DroppedRow[]> {
  const { jobs, sources } = input;
  return await tx<DroppedRow[]>`
    UPDATE send s SET state = ${SendState.dropped}, settled_at = clock_timestamp(), due_at = NULL, reason = CASE
      WHEN l.id IS NULL THEN ${SendReason.leadDeleted}::smallint
      WHEN l.opted_out THEN ${SendReason.optedOut}::smallint
      WHEN l.unreachable <> 0 THEN ${SendReason.unreachable}::smallint
      WHEN c.state = ${CampaignState.deleted} THEN ${SendReason.campaignNotLive}::smallint
      ELSE ${SendReason.statusChanged}::smallint END
    FROM unnest(${column(jobs, "sourceId")}::text::bigint[], ${column(jobs, "leadId")}::text::bigint[],
      ${column(jobs, "entry")}::text::int[], ${column(jobs, "botId")}::text::bigint[])
      AS k (source_id, lead_id, entry, bot_id)
    JOIN unnest(${column(sources, "sourceId")}::text::bigint[], ${column(sources, "run")}::text::int[],
      ${column(sources, "status")}::text::smallint[])
      AS g (source_id, run, status) ON g.source_id = k.source_id
    LEFT JOIN lead l ON l.id = k.lead_id
    LEFT JOIN campaign c ON c.id = l.campaign_id
    WHERE s.source_id = k.source_id AND s.lead_id = k.lead_id AND s.entry = k.entry AND s.bot_id = k.bot_id
      AND ${isQueued(tx)} AND s.run = g.run AND ${isTime(tx, input.offsetMs)} AND ${mayBeMessaged(tx)} IS NOT TRUE
    RETURNING s.source_id AS "sourceId", s.lead_id AS "leadId", s.entry, s.bot_id AS "botId", s.reason`;
}

/**
 * queued → dropped for jobs of a source that sends nothing now, for good (a block that is off). Only what is due: a job may
 * be forged, and the block may be on again by then.
 */
export async function updateSourceToDropped(
  tx: TransactionSql,
  jobs: { sourceId: number; leadId: number; entry: number; botId: number; reason: SendReason }[],
  offsetMs: number,
): Promise<DroppedRow[]> {
  return await tx<DroppedRow[]>`
    UPDATE send s SET state = ${SendState.dropped}, settled_at = clock_timestamp(), due_at = NULL, reason = k.reason
    FROM unnest(${column(jobs, "sourceId")}::text::bigint[], ${column(jobs, "leadId")}::text::bigint[],
      ${column(jobs, "entry")}::text::int[], ${column(jobs, "botId")}::text::bigint[],
      ${column(jobs, "reason")}::text::smallint[])
      AS k (source_id, lead_id, entry, bot_id, reason)
    WHERE s.source_id = k.source_id AND s.lead_id = k.lead_id AND s.entry = k.entry AND s.bot_id = k.bot_id
      AND ${isQueued(tx)} AND ${isTime(tx, offsetMs)}
    RETURNING s.source_id AS "sourceId", s.lead_id AS "leadId", s.entry, s.bot_id AS "botId", s.reason`;
}

/** One settled send, as columns for unnest. */
export interface SettleRow {
  sourceId: number;
  leadId: number;
  entry: number;
  token: number;
  state: SendState;
  reason: SendReason;
  messageId: number | null;
  /** The run that a send which comes back joins; null leaves it. */
  run: number | null;
  /** The revision that the Bot API refused for this lead; null leaves it. */
  faultRevision: number | null;
  /** What it said of it. */
  words?: string;
  /** Milliseconds until it may be tried again; null for at once. */
  retryAfterMs: number | null;
}

export interface SettledRow {
  sourceId: number;
  leadId: number;
  entry: number;
  botId: number;
  was: SendState;
  state: SendState;
  /** The day whose quota the claim took from; null for follow-ups. */
  quotaDay: string | null;
}

/** sending, or unconfirmed by a rescue in between, → what the claim's own result proves. */
export async function updateToSettled(tx: TransactionSql, rows: SettleRow[], offsetMs: number): Promise<SettledRow[]> {
  return await tx<SettledRow[]>`
    UPDATE send s SET state = k.state, reason = k.reason, message_id = k.message_id,
      run = coalesce(k.run, s.run), fault_revision = coalesce(k.fault_revision, s.fault_revision),
      due_at = ${nowBy(tx, offsetMs)} + k.retry_after_ms * interval '1 ms',
      settled_at = CASE WHEN k.state = ${SendState.queued} THEN NULL ELSE clock_timestamp() END
    FROM unnest(${column(rows, "sourceId")}::text::bigint[], ${column(rows, "leadId")}::text::bigint[],
      ${column(rows, "entry")}::text::int[], ${column(rows, "token")}::text::bigint[],
      ${column(rows, "state")}::text::smallint[], ${column(rows, "reason")}::text::smallint[],
      ${column(rows, "messageId")}::text::bigint[], ${column(rows, "run")}::text::int[],
      ${column(rows, "faultRevision")}::text::int[], ${column(rows, "retryAfterMs")}::text::float8[])
      AS k (source_id, lead_id, entry, token, state, reason, message_id, run, fault_revision, retry_after_ms)
    WHERE s.source_id = k.source_id AND s.lead_id = k.lead_id AND s.entry = k.entry AND s.claim_token = k.token
      AND s.state IN (${SendState.sending}, ${SendState.unconfirmed})
    RETURNING s.source_id AS "sourceId", s.lead_id AS "leadId", s.entry, s.bot_id AS "botId", old.state AS was, s.state,
      s.quota_day::text AS "quotaDay"`;
}

/** What settle needs to know of a broadcast. */
export interface RunRow {
  sourceId: number;
  state: BroadcastState;
  run: number;
  revision: number;
  acceptedRevision: number;
  excusedRun: number;
  /** One a line. */
  excusedWords: string;
}

/** Broadcasts whose sends come back, held so that their run cannot close meanwhile. */
export async function lockRuns(tx: TransactionSql, sourceIds: number[]): Promise<Map<number, RunRow>> {
  const rows = await tx<RunRow[]>`
    SELECT source_id AS "sourceId", state, run, revision, accepted_revision AS "acceptedRevision",
      excused_run AS "excusedRun", excused_words AS "excusedWords"
    FROM broadcast WHERE source_id = ANY(${sourceIds}::bigint[]) ORDER BY source_id FOR NO KEY UPDATE`;
  return new Map(rows.map((row) => [row.sourceId, row]));
}

/** Whose bots these are. A bot never changes hands. */
export async function selectAccountsOfBots(tx: TransactionSql, botIds: number[]): Promise<Map<number, number>> {
  const rows = await tx<{ id: number; accountId: number }[]>`
    SELECT id, account_id AS "accountId" FROM bot WHERE id = ANY(${botIds}::bigint[])`;
  return new Map(rows.map((row) => [row.id, row.accountId]));
}

/** Notes that the Bot API has accepted this revision of the body for some lead. */
export async function raiseAcceptedRevision(tx: TransactionSql, sourceId: number, revision: number): Promise<void> {
  await tx`
    UPDATE broadcast SET accepted_revision = ${revision}
    WHERE source_id = ${sourceId} AND accepted_revision < ${revision}`;
}

/** Counts leads that met a fault of this revision of the body, and keeps what was said to the last of them. */
export async function addFaultLeads(
  tx: TransactionSql,
  { sourceId, revision, leads, words }: { sourceId: number; revision: number; leads: number; words: string },
): Promise<void> {
  await tx`
    UPDATE broadcast SET fault_leads = CASE WHEN fault_revision = ${revision} THEN fault_leads ELSE 0 END + ${leads},
      fault_revision = ${revision}, fault_words = ${words}
    WHERE source_id = ${sourceId} AND revision = ${revision}`;
}
