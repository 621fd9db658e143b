/** Statements about holds. `lane` has a row for each bot and reason; its moments are Postgres' own. */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import type { SendJob } from "#services/core/ledger/claim.ts";
import {
  holdStands,
  isDue,
  isQueued,
  isQueuedOf,
  isSendable,
  literal,
  nowBy,
} from "#services/core/ledger/predicates.ts";
import { ALL_BOTS, HoldReason, SendKind, SHARD_COUNT } from "#services/core/ledger/send.ts";
import { BroadcastState } from "#services/core/ledger/source.ts";
import { HOLD_ORDER_SQL } from "#services/core/ledger/store.ts";
import { inTransaction } from "#services/core/ledger/transaction.ts";
import type { BreakerRule } from "./breaker.ts";

/** Holds the bot for so long; of two such holds the longer one counts. */
export async function upsertRateLimit(
  sql: Sql,
  { botId, forMs, message }: { botId: number; forMs: number; message: string },
  offsetMs: number,
): Promise<void> {
  await sql`
    INSERT INTO lane AS l (bot_id, hold_until, reason, message)
    SELECT id, ${nowBy(sql, offsetMs)} + ${forMs}::float8 * interval '1 ms', ${HoldReason.rateLimited}::smallint, ${message}
    FROM bot WHERE id = ${botId}
    ON CONFLICT (bot_id, reason) DO UPDATE SET hold_until = excluded.hold_until, message = excluded.message,
      since = CASE WHEN l.hold_until > now() THEN l.since ELSE excluded.since END
    WHERE l.hold_until < excluded.hold_until`;
}

/** Unless the token was replaced meanwhile. */
export async function upsertDeadToken(
  sql: Sql,
  { botId, tokenVersion, message }: { botId: number; tokenVersion: number; message: string },
  askAgainMs: number,
): Promise<void> {
  await sql`
    INSERT INTO lane (bot_id, reason, message, token_version, probe_at)
    SELECT id, ${HoldReason.tokenDead}::smallint, ${message}, token_version,
      clock_timestamp() + ${askAgainMs} * interval '1 ms'
    FROM bot WHERE id = ${botId} AND token_version = ${tokenVersion}
    ON CONFLICT (bot_id, reason) DO UPDATE SET token_version = excluded.token_version, probe_at = excluded.probe_at`;
}

/** What a bot's breaker says of itself where no answer of the Bot API has opened it. */
const OWN_FAULT = "own";
/** Serialises the openings of breakers, so that of three at once the last one sees the others. */
const BREAKER_LOCK = 7_420_001;

/** Opens a bot's breaker, and that of the Bot API's address where it is one of many. One that is open stays as it is. */
export async function openBreaker(sql: Sql, botId: number, rule: BreakerRule): Promise<void> {
  await inTransaction(sql, async (tx) => {
    await tx`SELECT pg_advisory_xact_lock(${BREAKER_LOCK})`;
    const opened = await tx`
      INSERT INTO lane (bot_id, reason, message, words, since, probe_at)
      SELECT id, ${HoldReason.breaker}::smallint, ${rule.message}, ${rule.counts ? "" : OWN_FAULT}, clock_timestamp(),
        clock_timestamp() + ${rule.firstProbeMs} * interval '1 ms'
      FROM bot WHERE id = ${botId} ON CONFLICT DO NOTHING RETURNING 1`;
    if (opened.length > 0 && rule.counts) await openAddressBreaker(tx, rule);
  });
}

async function openAddressBreaker(tx: TransactionSql, rule: BreakerRule): Promise<void> {
  await tx`
    INSERT INTO lane (bot_id, reason, message, since, probe_at)
    SELECT ${ALL_BOTS}::bigint, ${HoldReason.breaker}::smallint, ${rule.addressMessage}, clock_timestamp(),
      clock_timestamp() + ${rule.firstProbeMs} * interval '1 ms'
    WHERE ${rule.botLimit} <= (SELECT count(*) FROM lane WHERE reason = ${HoldReason.breaker} AND bot_id <> ${ALL_BOTS}
      AND words = '' AND since > clock_timestamp() - ${rule.withinMs} * interval '1 ms')
    ON CONFLICT DO NOTHING`;
}

/** One hold that stands, with what the loop of holds.ts needs to know. */
export interface StandingHold {
  botId: number;
  reason: HoldReason;
  /** Its next try, or question, is due. */
  due: boolean;
  probes: number;
  words: string;
}

/** The holds of all, and those of these shards' bots, by bot. At most 10,000. */
export async function selectStanding(sql: Sql, shards: number[], offsetMs: number): Promise<StandingHold[]> {
  return await sql<StandingHold[]>`
    SELECT bot_id AS "botId", reason, coalesce(probe_at <= clock_timestamp(), true) AS due, probes, words FROM lane
    WHERE (bot_id = ${ALL_BOTS} OR bot_id % ${SHARD_COUNT} = ANY(${shards}::bigint[]))
      AND ${holdStands(sql, "lane", offsetMs)}
    ORDER BY bot_id LIMIT 10000`;
}

/** Takes the turn to try: nobody else does before `turnMs` have passed. @returns false if somebody has it. */
export async function takeTurn(sql: Sql, { botId, reason }: HoldKey, turnMs: number): Promise<boolean> {
  const rows = await sql`
    UPDATE lane SET probe_at = clock_timestamp() + ${turnMs} * interval '1 ms'
    WHERE bot_id = ${botId} AND reason = ${reason} AND coalesce(probe_at <= clock_timestamp(), true) RETURNING 1`;
  return rows.length > 0;
}

export interface HoldKey {
  botId: number;
  reason: HoldReason;
}

/** The next try is due in so long. */
export async function updateNextTry(sql: Sql, { botId, reason }: HoldKey, inMs: number): Promise<void> {
  await sql`
    UPDATE lane SET probe_at = clock_timestamp() + ${inMs} * interval '1 ms' WHERE bot_id = ${botId} AND reason = ${reason}`;
}

/** A try was in vain. */
export async function updateInVain(sql: Sql, { botId, reason }: HoldKey, nextInMs: number): Promise<void> {
  await sql`
    UPDATE lane SET probes = least(probes + 1, 32767), accepted = 0, tried_at = clock_timestamp(),
      probe_at = clock_timestamp() + ${nextInMs} * interval '1 ms'
    WHERE bot_id = ${botId} AND reason = ${reason}`;
}

/**
 * A message was accepted while the breaker was half-open: after so many it closes. When that of the address closes, each
 * bot whose own is still open may try at once.
 * @returns whether it is closed.
 */
export async function updateAccepted(sql: Sql, botId: number, toClose: number): Promise<boolean> {
  return await inTransaction(sql, async (tx) => {
    const [row] = await tx<{ accepted: number }[]>`
      UPDATE lane SET accepted = accepted + 1, probes = 0, probe_at = clock_timestamp()
      WHERE bot_id = ${botId} AND reason = ${HoldReason.breaker} RETURNING accepted`;
    if (row && row.accepted < toClose) return false;
    await tx`DELETE FROM lane WHERE bot_id = ${botId} AND reason = ${HoldReason.breaker}`;
    if (botId === ALL_BOTS) {
      await tx`UPDATE lane SET probes = 0, probe_at = clock_timestamp() WHERE reason = ${HoldReason.breaker}`;
    }
    return true;
  });
}

/** Breakers through which nothing has asked to be sent for an hour: whoever comes next begins with a closed one. */
export async function deleteIdleBreakers(sql: Sql): Promise<void> {
  await sql`
    DELETE FROM lane WHERE reason = ${HoldReason.breaker} AND probe_at < clock_timestamp() - interval '1 hour'`;
}

export async function deleteHold(sql: Sql, { botId, reason }: HoldKey): Promise<void> {
  await sql`DELETE FROM lane WHERE bot_id = ${botId} AND reason = ${reason}`;
}

/** What getMe needs, of those bots. */
export async function selectTokens(
  sql: Sql,
  botIds: number[],
): Promise<{ botId: number; tokenSealed: string; tokenVersion: number }[]> {
  return await sql<{ botId: number; tokenSealed: string; tokenVersion: number }[]>`
    SELECT id AS "botId", token_sealed AS "tokenSealed", token_version AS "tokenVersion"
    FROM bot WHERE id = ANY(${botIds}::bigint[])`;
}

/** Bots of these shards that have a streak of refusals, or are held for one. */
export async function selectStreakBots(sql: Sql, shards: number[]): Promise<number[]> {
  const rows = await sql<{ botId: number }[]>`
    SELECT DISTINCT bot_id AS "botId" FROM bot_refusal WHERE bot_id % ${SHARD_COUNT} = ANY(${shards}::bigint[])
    UNION SELECT bot_id FROM lane WHERE reason = ${HoldReason.botFault}`;
  return rows.map((row) => row.botId);
}

/**
 * For each of these bots what could be tried now, best first: due follow-ups and heads of running broadcasts that have not
 * met these words, and then the one that met them longest ago. Read without a lock: the claim decides.
 */
export async function selectCandidates(
  tx: TransactionSql,
  bots: { botId: number; words: string }[],
  offsetMs: number,
): Promise<Map<number, SendJob[]>> {
  const queued = isQueued(tx);
  const due = isDue(tx, offsetMs);
  const untried = tx`NOT EXISTS (SELECT FROM bot_refusal r WHERE r.bot_id = k.bot_id AND r.words = k.words
    AND r.source_id = s.source_id AND r.lead_id = s.lead_id AND r.entry = s.entry)`;
  const isRunning = tx`b.state = ${literal(tx, BroadcastState.running)}`;
  const running = tx`${isRunning} AND ${isSendable(tx, "b", offsetMs)}`;
  const rows = await tx<SendJob[]>`
    SELECT c.* FROM unnest(${bots.map((bot) => bot.botId)}::bigint[], ${bots.map((bot) => bot.words)}::text[])
      AS k (bot_id, words)
    CROSS JOIN LATERAL (
      (SELECT s.kind, s.bot_id AS "botId", s.source_id AS "sourceId", s.lead_id AS "leadId", s.entry, 1 AS place,
          s.due_at AS moment
        FROM send s WHERE s.bot_id = k.bot_id AND ${isQueuedOf(tx, "followUp")} AND ${due} AND ${untried}
        ORDER BY s.due_at LIMIT 2)
      UNION ALL
      (SELECT h.*, 2, NULL FROM bot JOIN broadcast b ON b.account_id = bot.account_id AND ${isRunning}
        CROSS JOIN LATERAL (
          SELECT s.kind, s.bot_id, s.source_id, s.lead_id, s.entry FROM send s
          WHERE s.source_id = b.source_id AND s.bot_id = k.bot_id AND s.kind = ${literal(tx, SendKind.broadcast)}
            AND ${running} AND ${untried}
          ORDER BY s.lead_id LIMIT 1) AS h
        WHERE bot.id = k.bot_id ORDER BY b.id LIMIT 4)
      UNION ALL
      (SELECT s.kind, s.bot_id, s.source_id, s.lead_id, s.entry, 3, r.refused_at
        FROM bot_refusal r JOIN send s ON s.source_id = r.source_id AND s.lead_id = r.lead_id AND s.entry = r.entry
        LEFT JOIN broadcast b ON b.source_id = s.source_id
        WHERE r.bot_id = k.bot_id AND r.words = k.words AND ${queued}
          AND ((s.kind = ${SendKind.followUp} AND ${due}) OR ${running})
        ORDER BY r.refused_at LIMIT 1)) AS c
    ORDER BY c."botId", c.place, c.moment`;
  const jobs = rows.map(({ kind, botId, sourceId, leadId, entry }) => ({ kind, botId, sourceId, leadId, entry }));
  return Map.groupBy(jobs, (job) => job.botId);
}

/** A bot of these shards that nothing of its own holds and that has something to send, chosen by chance. */
export async function selectWaitingBot(
  tx: TransactionSql,
  shards: number[],
  offsetMs: number,
): Promise<number | undefined> {
  const [row] = await tx<{ id: number }[]>`
    SELECT bot.id FROM (
      SELECT b.id, b.account_id FROM bot b WHERE b.id % ${SHARD_COUNT} = ANY(${shards}::bigint[])
        AND NOT EXISTS (SELECT FROM lane l WHERE l.bot_id = b.id AND l.reason <> ${HoldReason.breaker}
          AND ${holdStands(tx, "l", offsetMs)})
      ORDER BY random()) AS bot
    WHERE EXISTS (SELECT FROM send s WHERE s.bot_id = bot.id AND ${isQueuedOf(tx, "followUp")} AND ${isDue(tx, offsetMs)})
      OR EXISTS (SELECT FROM broadcast b WHERE b.account_id = bot.account_id AND b.state = ${literal(tx, BroadcastState.running)}
        AND EXISTS (SELECT FROM send s WHERE s.source_id = b.source_id AND s.bot_id = bot.id
          AND ${isQueuedOf(tx, "broadcast")} AND s.run = b.run))
    LIMIT 1`;
  return row?.id;
}

// Operators

export async function upsertOperatorHold(sql: TransactionSql, botId: number, message: string): Promise<void> {
  await sql`
    INSERT INTO lane (bot_id, reason, message) VALUES (${botId}, ${HoldReason.operator}, ${message})
    ON CONFLICT (bot_id, reason) DO UPDATE SET message = excluded.message`;
}

export interface HoldRow extends HoldKey {
  message: string;
  since: Date;
  until: Date | null;
  nextTry: Date | null;
  tries: number;
}

/** Holds that stand now, by bot and the order in which they decide; of one bot, or of all. At most 1,000. */
export async function selectHolds(sql: Sql | TransactionSql, offsetMs: number, botId?: number): Promise<HoldRow[]> {
  return await sql<HoldRow[]>`
    SELECT bot_id AS "botId", reason, message, since, hold_until AS until, probe_at AS "nextTry", probes AS tries FROM lane
    WHERE (${botId ?? null}::bigint IS NULL OR bot_id = ${botId ?? null}::bigint)
      AND ${holdStands(sql, "lane", offsetMs)}
    ORDER BY bot_id, array_position(${sql.unsafe(HOLD_ORDER_SQL)}, reason) LIMIT 1000`;
}

/** Deletes the bot's holds for these reasons; with that of a bot's fault goes what it was held for. @returns how many. */
export async function deleteHolds(tx: TransactionSql, botId: number, reasons: readonly HoldReason[]): Promise<number> {
  const rows = await tx<{ reason: HoldReason }[]>`
    DELETE FROM lane WHERE bot_id = ${botId} AND reason = ANY(${[...reasons]}::smallint[]) RETURNING reason`;
  const atFault = rows.some((row) => row.reason === HoldReason.botFault);
  if (atFault) await tx`DELETE FROM bot_refusal WHERE bot_id = ${botId}`;
  return rows.length;
}
