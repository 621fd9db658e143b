/**
 * What the relay asks Postgres. What reads the ledger takes a transaction of it (services/core/ledger/transaction.ts), whose plans
 * are made for the ledger as it is. The predicate *sendable now* is the claim's own (services/core/ledger/predicates.ts).
 */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import type { SendJob } from "#services/core/ledger/claim.ts";
import {
  holdStands,
  isDue,
  isPaid,
  isQueuedOf,
  isSendable,
  literal,
  todayBy,
} from "#services/core/ledger/predicates.ts";
import { SendKind, SHARD_COUNT } from "#services/core/ledger/send.ts";
import { BroadcastState } from "#services/core/ledger/source.ts";
import { LeaseRole } from "#services/core/shards/leases.ts";

/** A running broadcast, whether or not it may send now. */
export interface RunningBroadcast {
  id: number;
  accountId: number;
  sourceId: number;
  run: number;
  epoch: number;
  revision: number;
  acceptedRevision: number;
  faultRevision: number;
  faultLeads: number;
  /** Paid, with the feature, and below the day's cap. */
  sendable: boolean;
  /** How many more manual messages the account's day allows; 2,147,483,647 for no limit. */
  room: number;
}

export async function selectRunning(sql: Sql, offsetMs: number): Promise<RunningBroadcast[]> {
  return await sql<RunningBroadcast[]>`
    SELECT b.id, b.account_id AS "accountId", b.source_id AS "sourceId", b.run, b.epoch, b.revision,
      b.accepted_revision AS "acceptedRevision", b.fault_revision AS "faultRevision", b.fault_leads AS "faultLeads",
      ${isPaid(sql, offsetMs)} AND t.broadcasts AS sendable,
      CASE WHEN t.daily_cap = 0 THEN 2147483647 ELSE greatest(0, t.daily_cap - coalesce(q.used, 0)) END AS room
    FROM broadcast b JOIN account a ON a.id = b.account_id JOIN tariff t ON t.id = a.tariff_id
    LEFT JOIN quota_day q ON q.account_id = a.id AND q.day = ${todayBy(sql, offsetMs)}
    WHERE b.state = ${literal(sql, BroadcastState.running)} ORDER BY b.id`;
}

/** Bots whose lanes are held now; `ALL_BOTS` among them if all are. */
export async function selectHeldBots(sql: Sql, offsetMs: number): Promise<number[]> {
  const rows = await sql<{ botId: number }[]>`
    SELECT bot_id AS "botId" FROM lane
    WHERE ${holdStands(sql, "lane", offsetMs)} ORDER BY bot_id`;
  return rows.map((row) => row.botId);
}

/** Fences of delivery's leases, by shard: one rises when another replica takes the shard's bots over. */
export async function selectOwnerFences(sql: Sql): Promise<number[]> {
  const rows = await sql<{ shard: number; fence: number }[]>`
    SELECT shard, fence FROM shard_lease WHERE role = ${LeaseRole.delivery} AND shard < ${SHARD_COUNT}`;
  const fences: number[] = Array(SHARD_COUNT).fill(0);
  for (const { shard, fence } of rows) fences[shard] = fence;
  return fences;
}

export interface RelayBot {
  botId: number;
  accountId: number;
  messagesPerSecond: number;
}

/** These accounts' bots in these shards. */
export async function selectBotsOfAccounts(sql: Sql, accountIds: number[], shards: number[]): Promise<RelayBot[]> {
  return await sql<RelayBot[]>`
    SELECT id AS "botId", account_id AS "accountId", messages_per_second AS "messagesPerSecond" FROM bot
    WHERE account_id = ANY(${accountIds}::bigint[]) AND id % ${SHARD_COUNT} = ANY(${shards}::bigint[]) ORDER BY id`;
}

/**
 * Bots of these shards that have a follow-up due. One descent of the index for each bot, some 2 µs, however much is
 * scheduled for later or overdue; none at all where nothing is scheduled for anybody. OFFSET keeps the planner from
 * reading all that is due of all bots instead, and ORDER BY from looking for the first one through the whole ledger.
 */
export async function selectBotsWithDue(tx: TransactionSql, shards: number[], offsetMs: number): Promise<RelayBot[]> {
  const queued = isQueuedOf(tx, "followUp");
  return await tx<RelayBot[]>`
    SELECT b.id AS "botId", b.account_id AS "accountId", b.messages_per_second AS "messagesPerSecond" FROM bot b
    WHERE (SELECT s.bot_id FROM send s WHERE ${queued} ORDER BY s.bot_id LIMIT 1) IS NOT NULL
      AND b.id % ${SHARD_COUNT} = ANY(${shards}::bigint[])
      AND EXISTS (SELECT FROM send s WHERE s.bot_id = b.id AND ${queued} AND ${isDue(tx, offsetMs)} OFFSET 0)
    ORDER BY b.id`;
}

export interface BroadcastLane {
  sourceId: number;
  botId: number;
  run: number;
  revision: number;
  acceptedRevision: number;
  limit: number;
}

/** The first sendable leads of each lane, by id, at most `limit` each; one array per lane, in order. */
export async function selectBroadcastHeads(
  tx: TransactionSql,
  lanes: BroadcastLane[],
  offsetMs: number,
): Promise<number[][]> {
  const rows = await tx<{ leads: number[] }[]>`
    SELECT ARRAY(
      SELECT s.lead_id FROM send s
      WHERE s.source_id = k.source_id AND s.bot_id = k.bot_id AND s.kind = ${literal(tx, SendKind.broadcast)}
        AND ${isSendable(tx, "k", offsetMs)}
      ORDER BY s.lead_id LIMIT k.n) AS leads
    FROM unnest(${lanes.map((l) => l.sourceId)}::bigint[], ${lanes.map((l) => l.botId)}::bigint[],
      ${lanes.map((l) => l.run)}::int[], ${lanes.map((l) => l.revision)}::int[],
      ${lanes.map((l) => l.acceptedRevision)}::int[], ${lanes.map((l) => l.limit)}::int[])
      WITH ORDINALITY AS k (source_id, bot_id, run, revision, accepted_revision, n, i)
    ORDER BY k.i`;
  return rows.map((row) => row.leads);
}

/** Due follow-ups of each bot, oldest first, at most `limit` each. */
export async function selectDueFollowUps(
  tx: TransactionSql,
  lanes: { botId: number; limit: number }[],
  offsetMs: number,
): Promise<SendJob[]> {
  const rows = await tx<Omit<SendJob, "kind">[]>`
    SELECT k.bot_id AS "botId", f.source_id AS "sourceId", f.lead_id AS "leadId", f.entry
    FROM unnest(${lanes.map((l) => l.botId)}::bigint[], ${lanes.map((l) => l.limit)}::int[]) AS k (bot_id, n)
    CROSS JOIN LATERAL (
      SELECT s.source_id, s.lead_id, s.entry FROM send s
      WHERE s.bot_id = k.bot_id AND ${isQueuedOf(tx, "followUp")} AND ${isDue(tx, offsetMs)}
      ORDER BY s.due_at LIMIT k.n) AS f`;
  return rows.map((row) => ({ ...row, kind: SendKind.followUp }));
}
