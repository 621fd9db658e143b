import type { Sql } from "#services/core/database/client.ts";
import {
  type ClaimAnswer,
  type ClaimedSend,
  type ClaimOptions,
  claimSends,
  type SendJob,
} from "#services/core/ledger/claim.ts";
import { type Counters, readCounters } from "#services/core/ledger/counters.ts";
import { SendKind, SHARD_COUNT } from "#services/core/ledger/send.ts";
import { type SendResult, type Settlement, settleSends, ticketOf } from "#services/core/ledger/settle.ts";
import { type AccountRow, insertAccount } from "./account-rows.ts";

export interface WorldOptions extends AccountRow {
  /** Default 1. */
  bots?: number;
  messagesPerSecond?: number;
  /** Spread over the bots in turn; default one per bot. */
  campaigns?: number;
  /** Spread over the campaigns in turn, each in a chat of its own; default 0. */
  leads?: number;
  /** Of those leads; default 0. */
  status?: number;
}

export interface LeadRow {
  id: number;
  campaignId: number;
  botId: number;
  chatId: number;
}

/** Delivery's number in `shard_lease`, and the fence under which the pretend delivery holds every shard. */
export const DELIVERY_ROLE = 2;
export const FENCE = 1;

/** Every shard under that fence. */
export const allLeases: ReadonlyMap<number, number> = new Map(
  Array.from({ length: SHARD_COUNT }, (_, shard) => [shard, FENCE]),
);

const rescueMs = { text: 15_000, media: 65_000 };

let nextChat = 1;

/** One account with bots, campaigns and leads, and a pretend delivery that holds every shard of this database. */
export async function createWorld(sql: Sql, options: WorldOptions = {}) {
  const accountId = await insertAccount(sql, options);
  const botIds = await insertBots(sql, accountId, options);
  const campaignIds = await insertCampaigns(sql, accountId, botIds, options.campaigns ?? botIds.length);
  await leaseShards(sql);

  const world = {
    sql,
    accountId,
    botIds,
    botId: botIds[0]!,
    campaignIds,
    campaignId: campaignIds[0]!,
    leads: [] as LeadRow[],

    async addLeads(n: number, fields: { status?: number; campaignIds?: number[] } = {}): Promise<LeadRow[]> {
      const added = await insertLeads(sql, n, {
        status: fields.status ?? 0,
        campaignIds: fields.campaignIds ?? campaignIds,
      });
      world.leads.push(...added);
      return added;
    },

    /** A draft for all statuses and campaigns unless `scope` names some. @returns its id. */
    async addBroadcast(fields: { statuses?: number; scope?: number[]; text?: string } = {}): Promise<number> {
      const { statuses = 31, scope = [], text = "Hello" } = fields;
      const [row] = await sql<{ id: number }[]>`
        INSERT INTO broadcast (account_id, source_id, statuses, text, parsed)
        VALUES (${accountId}, nextval('source_id_seq'), ${statuses}, ${text}, ${sql.json({ text, entities: [] })})
        RETURNING id`;
      await sql`INSERT INTO broadcast_campaign SELECT ${row!.id}::bigint, unnest(${scope}::bigint[])`;
      return row!.id;
    },

    /** A block that is on, of the first campaign. @returns its source. */
    async addBlock(fields: { status?: number; on?: boolean } = {}): Promise<number> {
      const { status = 0, on = true } = fields;
      const [row] = await sql<{ sourceId: number }[]>`
        INSERT INTO block (campaign_id, status, source_id, "on", text, parsed)
        VALUES (${campaignIds[0]!}, ${status}, nextval('source_id_seq'), ${on}, 'Hi',
          ${sql.json({ text: "Hi", entities: [] })}) RETURNING source_id AS "sourceId"`;
      return row!.sourceId;
    },

    /** Schedules a follow-up for each lead's present entry, due `dueInMs` from now. @returns their jobs. */
    async schedule(sourceId: number, leads: LeadRow[], dueInMs = -1000): Promise<SendJob[]> {
      const rows = await sql<SendJob[]>`
        INSERT INTO send (source_id, lead_id, bot_id, entry, kind, due_at)
        SELECT ${sourceId}::bigint, l.id, l.bot_id, l.entry, 2, now() + ${dueInMs}::float8 * interval '1 ms'
        FROM lead l WHERE l.id = ANY(${leads.map((lead) => lead.id)}::bigint[])
        RETURNING kind, source_id AS "sourceId", lead_id AS "leadId", bot_id AS "botId", entry`;
      await sql`
        INSERT INTO send_counter AS c (source_id, slot, enqueued) VALUES (${sourceId}, -1, ${rows.length})
        ON CONFLICT (source_id, slot) DO UPDATE SET enqueued = c.enqueued + excluded.enqueued`;
      return [...rows];
    },

    async broadcast(id: number) {
      const [row] = await sql<BroadcastState[]>`
        SELECT state, run, source_id AS "sourceId", revision, accepted_revision AS "acceptedRevision", total,
          fault_leads AS "faultLeads", pause_reason AS "pauseReason" FROM broadcast WHERE id = ${id}`;
      if (!row) throw new Error(`There is no broadcast ${id}.`);
      return row;
    },

    async counters(id: number): Promise<Counters> {
      return await countersOf(sql, (await world.broadcast(id)).sourceId);
    },

    /** A job for every queued row of the broadcast's ledger, of whatever run, by lead. */
    async jobs(id: number, limit = 1_000_000): Promise<SendJob[]> {
      const { sourceId } = await world.broadcast(id);
      const rows = await sql<SendJob[]>`
        SELECT kind, source_id AS "sourceId", lead_id AS "leadId", bot_id AS "botId", entry FROM send
        WHERE source_id = ${sourceId} AND state = 0 ORDER BY lead_id LIMIT ${limit}`;
      return [...rows];
    },

    async claim(jobs: readonly SendJob[], options: Partial<ClaimOptions> = {}): Promise<ClaimAnswer[]> {
      return await claimSends(jobs, { sql, role: DELIVERY_ROLE, leases: allLeases, rescueMs, ...options });
    },

    /** Claims up to `limit` of what is queued. @returns only what was claimed. */
    async claimQueued(id: number, limit?: number): Promise<ClaimedSend[]> {
      return claimedOf(await world.claim(await world.jobs(id, limit)));
    },

    /** Writes one result for all, or each one's own. */
    async settle(sends: ClaimedSend[], result: SendResult | ((send: ClaimedSend, i: number) => SendResult)) {
      const resultOf = typeof result === "function" ? result : () => result;
      return await settleSends(
        sends.map((send, i): Settlement => ({ ticket: ticketOf(send), result: resultOf(send, i) })),
        { sql },
      );
    },

    /** The ledger's rows of the broadcast's present source, by lead. */
    async rows(id: number): Promise<SendRow[]> {
      return await rowsOf(sql, (await world.broadcast(id)).sourceId);
    },

    async used(): Promise<number> {
      const [row] = await sql<{ used: number }[]>`
        SELECT coalesce(sum(used), 0)::int AS used FROM quota_day WHERE account_id = ${accountId}`;
      return row!.used;
    },
  };
  if (options.leads) await world.addLeads(options.leads, { status: options.status });
  return world;
}

export type World = Awaited<ReturnType<typeof createWorld>>;

export interface BroadcastState {
  state: number;
  run: number;
  sourceId: number;
  revision: number;
  acceptedRevision: number;
  total: number;
  faultLeads: number;
  pauseReason: string;
}

export interface SendRow {
  leadId: number;
  entry: number;
  state: number;
  reason: number;
  run: number;
  attempts: number;
  faultRevision: number;
  messageId: number | null;
  claimToken: number | null;
  quotaDay: string | null;
}

export async function rowsOf(sql: Sql, sourceId: number): Promise<SendRow[]> {
  const rows = await sql<SendRow[]>`
    SELECT lead_id AS "leadId", entry, state, reason, run, attempts, fault_revision AS "faultRevision",
      message_id AS "messageId", claim_token AS "claimToken", quota_day AS "quotaDay"
    FROM send WHERE source_id = ${sourceId} ORDER BY lead_id, entry`;
  return [...rows];
}

export async function countersOf(sql: Sql, sourceId: number): Promise<Counters> {
  return (await readCounters(sql, [sourceId])).get(sourceId)!;
}

export function claimedOf(answers: readonly ClaimAnswer[]): ClaimedSend[] {
  return answers.flatMap((answer) => (answer.outcome === "claimed" ? [answer.send] : []));
}

/** Each answer in a word or two: "claimed", "wait quota", "dropped 61", "stale". */
export function inWords(answers: readonly ClaimAnswer[]): string[] {
  return answers.map((answer) =>
    answer.outcome === "wait" || answer.outcome === "dropped" ? `${answer.outcome} ${answer.reason}` : answer.outcome,
  );
}

export function broadcastJob(sourceId: number, lead: { id: number; botId: number }): SendJob {
  return { kind: SendKind.broadcast, sourceId, leadId: lead.id, botId: lead.botId, entry: 0 };
}

async function insertBots(sql: Sql, accountId: number, options: WorldOptions): Promise<number[]> {
  const rows = await sql<{ id: number }[]>`
    INSERT INTO bot (account_id, username, token_sealed, webhook_secret, messages_per_second)
    SELECT ${accountId}::bigint, 'bot_' || i, 'sealed', 'secret', ${options.messagesPerSecond ?? 30}::int
    FROM generate_series(1, ${options.bots ?? 1}::int) AS i RETURNING id`;
  return rows.map((row) => row.id);
}

async function insertCampaigns(sql: Sql, accountId: number, botIds: number[], n: number): Promise<number[]> {
  const rows = await sql<{ id: number }[]>`
    INSERT INTO campaign (account_id, bot_id, name, code)
    SELECT ${accountId}::bigint, (${botIds}::bigint[])[1 + i % ${botIds.length}::int], 'Campaign ' || i, 'C' || i
    FROM generate_series(0, ${n - 1}::int) AS i RETURNING id`;
  return rows.map((row) => row.id);
}

async function insertLeads(
  sql: Sql,
  n: number,
  { status, campaignIds }: { status: number; campaignIds: number[] },
): Promise<LeadRow[]> {
  const firstChat = nextChat;
  nextChat += n;
  const rows = await sql<LeadRow[]>`
    INSERT INTO lead (campaign_id, bot_id, chat_id, status, status_time, created_time)
    SELECT c.id, c.bot_id, ${firstChat}::bigint + i, ${status}::smallint, now(), now()
    FROM generate_series(0, ${n - 1}::int) AS i
    JOIN campaign c ON c.id = (${campaignIds}::bigint[])[1 + i % ${campaignIds.length}::int] ORDER BY i
    RETURNING id, campaign_id AS "campaignId", bot_id AS "botId", chat_id AS "chatId"`;
  return [...rows];
}

async function leaseShards(sql: Sql): Promise<void> {
  await sql`
    INSERT INTO shard_lease (role, shard, owner, fence, expires_at)
    SELECT ${DELIVERY_ROLE}::smallint, i, 'pretend', ${FENCE}::bigint, now() + interval '1 hour'
    FROM generate_series(0, ${SHARD_COUNT - 1}::int) AS i ON CONFLICT DO NOTHING`;
}
