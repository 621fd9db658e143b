/**
 * Erase: what the ledger says of a person goes. Sends keep the bare id and their state, so that counters keep their
 * totals; what waits is dropped, and what is on the wire stays: its owner settles it.
 */
import type { TransactionSql } from "#services/core/database/client.ts";
import { CounterDeltas } from "./counters.ts";
import { SendKind, SendReason, SendState } from "./send.ts";
import { OPEN_STATES_SQL } from "./source.ts";

/** A lead, and the account and the campaign that are known to have it. */
export interface ErasedSends {
  accountId: number;
  campaignId: number;
  leadId: number;
}

/**
 * Drops what waits for the lead, and takes from settled sends what leads back to its chat.
 * @param sourceIds broadcasts whose gates the caller holds; those of others keep what waits, and the claim drops it.
 */
export async function eraseSends(tx: TransactionSql, erased: ErasedSends, sourceIds: number[]): Promise<void> {
  const dropped = await updateLeadToDropped(tx, erased, sourceIds);
  await clearMessageIds(tx, erased);
  const deltas = new CounterDeltas();
  for (const { sourceId, counted } of dropped) if (counted) deltas.drop(sourceId, 1);
  await deltas.write(tx);
}

/** The account's broadcasts that have a row of this lead waiting. The ledger has no index by lead: it is asked per source. */
export async function selectWaitingBroadcasts(
  tx: TransactionSql,
  { accountId, leadId }: Pick<ErasedSends, "accountId" | "leadId">,
): Promise<number[]> {
  const rows = await tx<{ sourceId: number }[]>`
    SELECT b.source_id AS "sourceId" FROM broadcast b
    WHERE b.account_id = ${accountId} AND EXISTS (SELECT FROM send s
      WHERE s.source_id = b.source_id AND s.lead_id = ${leadId} AND s.state = ${SendState.queued})
    ORDER BY b.source_id`;
  return rows.map((row) => row.sourceId);
}

interface DroppedSend {
  sourceId: number;
  /** Whether the row was still counted as queued; one of a closed run was counted as dropped when the run closed. */
  counted: boolean;
}

/** queued → dropped for the lead's follow-ups, and for its rows of these broadcasts. */
async function updateLeadToDropped(
  tx: TransactionSql,
  { leadId, campaignId }: ErasedSends,
  sourceIds: number[],
): Promise<DroppedSend[]> {
  return await tx<DroppedSend[]>`
    WITH waiting AS (
      SELECT source_id, entry FROM send
      WHERE lead_id = ${leadId} AND state = ${SendState.queued} AND source_id IN (
        SELECT unnest(${sourceIds}::bigint[]) UNION ALL SELECT source_id FROM block WHERE campaign_id = ${campaignId})
      ORDER BY source_id, entry FOR UPDATE),
    dropped AS (
      UPDATE send s SET state = ${SendState.dropped}, reason = ${SendReason.leadDeleted}, due_at = NULL,
        settled_at = clock_timestamp()
      FROM waiting w
      WHERE s.source_id = w.source_id AND s.lead_id = ${leadId} AND s.entry = w.entry AND s.state = ${SendState.queued}
      RETURNING s.source_id, s.run, s.kind)
    SELECT d.source_id AS "sourceId",
      (d.kind = ${SendKind.followUp} OR coalesce(b.state IN ${tx.unsafe(OPEN_STATES_SQL)} AND b.run = d.run, false)) AS counted
    FROM dropped d LEFT JOIN broadcast b ON b.source_id = d.source_id`;
}

/** Takes from settled sends what leads back to the person's chat: the number of the message there. */
async function clearMessageIds(tx: TransactionSql, { accountId, campaignId, leadId }: ErasedSends): Promise<void> {
  await tx`
    UPDATE send s SET message_id = NULL
    FROM (SELECT source_id FROM broadcast WHERE account_id = ${accountId}
      UNION ALL SELECT source_id FROM block WHERE campaign_id = ${campaignId}) AS k
    WHERE s.source_id = k.source_id AND s.lead_id = ${leadId} AND s.message_id IS NOT NULL
      AND s.state <> ${SendState.sending}`;
}
