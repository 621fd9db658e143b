/** What the relay asks Postgres. The predicate *sendable now* stands here as the claim applies it (services/ledger/store.ts). */
import type { Sql } from "#services/database/client.ts";
import type { SendJob } from "#services/ledger/claim.ts";
import { ALL_BOTS, SendKind, SendState, SHARD_COUNT } from "#services/ledger/send.ts";

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
      coalesce(a.paid_until > n.now, false) AND t.broadcasts AS sendable,
      CASE WHEN t.daily_cap = 0 THEN 2147483647 ELSE greatest(0, t.daily_cap - coalesce(q.used, 0)) END AS room
    FROM broadcast b JOIN account a ON a.id = b.account_id JOIN tariff t ON t.id = a.tariff_id
    CROSS JOIN (SELECT now() + ${offsetMs}::float8 * interval '1 ms' AS now) AS n
    LEFT JOIN quota_day q ON q.account_id = a.id AND q.day = (n.now AT TIME ZONE 'utc')::date
    WHERE b.state = 1 ORDER BY b.id`;
}

export interface RelayBot {
  botId: number;
  accountId: number;
  messagesPerSecond: number;
  held: boolean;
  /** Whether a block, on or off, may have follow-ups due. */
  followUps: boolean;
}

/** Bots of these shards that have campaigns, and whether their lanes are held. */
export async function selectRelayBots(sql: Sql, shards: number[], offsetMs: number): Promise<RelayBot[]> {
  return await sql<RelayBot[]>`
    SELECT b.id AS "botId", b.account_id AS "accountId", b.messages_per_second AS "messagesPerSecond",
      EXISTS (SELECT FROM lane l WHERE l.bot_id IN (${ALL_BOTS}, b.id)
        AND (l.hold_until IS NULL OR l.hold_until > now() + ${offsetMs}::float8 * interval '1 ms')) AS held,
      EXISTS (SELECT FROM campaign c JOIN block k ON k.campaign_id = c.id WHERE c.bot_id = b.id) AS "followUps"
    FROM bot b
    WHERE b.id % ${SHARD_COUNT} = ANY(${shards}::bigint[])`;
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
export async function selectBroadcastHeads(sql: Sql, lanes: BroadcastLane[], offsetMs: number): Promise<number[][]> {
  const rows = await sql<{ leads: number[] }[]>`
    SELECT ARRAY(
      SELECT s.lead_id FROM send s
      WHERE s.source_id = k.source_id AND s.bot_id = k.bot_id AND s.state = ${sql.unsafe(String(SendState.queued))}
        AND s.kind = ${sql.unsafe(String(SendKind.broadcast))} AND s.run = k.run
        AND (s.due_at IS NULL OR s.due_at <= now() + ${offsetMs}::float8 * interval '1 ms')
        AND (s.fault_revision < k.revision OR k.accepted_revision >= k.revision)
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
  sql: Sql,
  lanes: { botId: number; limit: number }[],
  offsetMs: number,
): Promise<SendJob[]> {
  const rows = await sql<Omit<SendJob, "kind">[]>`
    SELECT k.bot_id AS "botId", f.source_id AS "sourceId", f.lead_id AS "leadId", f.entry
    FROM unnest(${lanes.map((l) => l.botId)}::bigint[], ${lanes.map((l) => l.limit)}::int[]) AS k (bot_id, n)
    CROSS JOIN LATERAL (
      SELECT s.source_id, s.lead_id, s.entry FROM send s
      WHERE s.bot_id = k.bot_id AND s.state = ${sql.unsafe(String(SendState.queued))}
        AND s.kind = ${sql.unsafe(String(SendKind.followUp))}
        AND s.due_at <= now() + ${offsetMs}::float8 * interval '1 ms'
      ORDER BY s.due_at LIMIT k.n) AS f`;
  return rows.map((row) => ({ ...row, kind: SendKind.followUp }));
}
