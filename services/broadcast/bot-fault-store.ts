/** Statements on broadcasts whose bots are at fault; see services/core/ledger/fault-streak.ts. */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { isQueuedOf } from "#services/core/ledger/predicates.ts";
import { HoldReason } from "#services/core/ledger/send.ts";
import { BroadcastState } from "./broadcast.ts";
import type { BroadcastRow } from "./store.ts";

/** A bot that is at fault, whatever was tried. */
export interface HopelessBot {
  botId: number;
  message: string;
  words: string;
}

/** Tries in vain until a bot's broadcasts pause. */
const HOPELESS_TRIES = 10;

/**
 * Bots at fault that were tried so often in vain, the last time after this run was started, and for which leads of it wait.
 * Words that its owner has resumed it with are no reason.
 */
export async function selectHopelessBots(
  tx: TransactionSql,
  { id }: Pick<BroadcastRow, "id">,
  { sinceStart }: { sinceStart: boolean },
): Promise<HopelessBot[]> {
  return await tx<HopelessBot[]>`
    SELECT l.bot_id AS "botId", l.message, l.words FROM broadcast b JOIN bot ON bot.account_id = b.account_id
    JOIN lane l ON l.bot_id = bot.id
    WHERE b.id = ${id} AND ${isHopeless(tx)} AND (NOT ${sinceStart}::boolean OR l.tried_at > b.started_at)
    ORDER BY l.bot_id`;
}

/** Running broadcasts that such a bot keeps waiting. */
export async function selectHopelessBroadcasts(sql: Sql): Promise<{ id: number; accountId: number }[]> {
  return await sql<{ id: number; accountId: number }[]>`
    SELECT DISTINCT b.id, b.account_id AS "accountId" FROM lane l JOIN bot ON bot.id = l.bot_id
    JOIN broadcast b ON b.account_id = bot.account_id
    WHERE b.state = ${BroadcastState.running} AND l.tried_at > b.started_at AND ${isHopeless(sql)} ORDER BY b.id LIMIT 100`;
}

function isHopeless(sql: Sql | TransactionSql) {
  return sql`l.reason = ${HoldReason.botFault} AND l.probes >= ${HOPELESS_TRIES}
    AND NOT (b.excused_run = b.run AND l.words = ANY(string_to_array(b.excused_words, ${"\n"})))
    AND EXISTS (SELECT FROM send s WHERE s.source_id = b.source_id AND s.bot_id = l.bot_id
      AND ${isQueuedOf(sql, "broadcast")} AND s.run = b.run)`;
}

/** From now on these words are the leads' own for the present run, and the bots are held for them no more. */
export async function excuseBots(tx: TransactionSql, broadcastId: number, bots: readonly HopelessBot[]): Promise<void> {
  const words = [...new Set(bots.map((bot) => bot.words))].join("\n");
  await tx`
    UPDATE broadcast SET excused_run = run,
      excused_words = CASE WHEN excused_run = run THEN excused_words || ${"\n"} ELSE '' END || ${words}
    WHERE id = ${broadcastId}`;
  const botIds = bots.map((bot) => bot.botId);
  await tx`DELETE FROM bot_refusal WHERE bot_id = ANY(${botIds}::bigint[])`;
  await tx`DELETE FROM lane WHERE reason = ${HoldReason.botFault} AND bot_id = ANY(${botIds}::bigint[])`;
}
