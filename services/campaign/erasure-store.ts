/** Statements that erase a person. */
import type { TransactionSql } from "#services/core/database/client.ts";
import { SendKind, SendReason, SendState } from "#services/core/ledger/send.ts";
import type { LeadRef } from "./lead-store.ts";

/** The account's broadcasts that have a row of this lead waiting. The ledger has no index by lead: it is asked per source. */
export async function selectWaitingBroadcasts(tx: TransactionSql, { accountId, leadId }: LeadRef): Promise<number[]> {
  const rows = await tx<{ sourceId: number }[]>`
    SELECT b.source_id AS "sourceId" FROM broadcast b
    WHERE b.account_id = ${accountId} AND EXISTS (SELECT FROM send s
      WHERE s.source_id = b.source_id AND s.lead_id = ${leadId} AND s.state = ${SendState.queued})
    ORDER BY b.source_id`;
  return rows.map((row) => row.sourceId);
}

export interface DroppedSend {
  sourceId: number;
  /** Whether the row was still counted as queued; one of a closed run was counted as dropped when the run closed. */
  counted: boolean;
}

/**
 * queued → dropped for the lead's follow-ups, and for its rows of the broadcasts whose gates the caller holds. What is on
 * the wire stays: its owner settles it.
 */
export async function updateLeadToDropped(
  tx: TransactionSql,
  { leadId, campaignId, sourceIds }: { leadId: number; campaignId: number; sourceIds: number[] },
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
      (d.kind = ${SendKind.followUp} OR coalesce(b.state IN (1, 4) AND b.run = d.run, false)) AS counted
    FROM dropped d LEFT JOIN broadcast b ON b.source_id = d.source_id`;
}

/** Takes from settled sends what leads back to the person's chat: the number of the message there. */
export async function clearMessageIds(
  tx: TransactionSql,
  { accountId, leadId }: LeadRef,
  campaignId: number,
): Promise<void> {
  await tx`
    UPDATE send s SET message_id = NULL
    FROM (SELECT source_id FROM broadcast WHERE account_id = ${accountId}
      UNION ALL SELECT source_id FROM block WHERE campaign_id = ${campaignId}) AS k
    WHERE s.source_id = k.source_id AND s.lead_id = ${leadId} AND s.message_id IS NOT NULL
      AND s.state <> ${SendState.sending}`;
}

export interface ErasedLead {
  id: number;
  campaignId: number;
  botId: number;
  chatId: number;
  optedOut: boolean;
}

/** Also what a row of refusals says of its chat. @returns what it was; undefined if it was gone already. */
export async function deleteLeadRow(tx: TransactionSql, leadId: number): Promise<ErasedLead | undefined> {
  await tx`DELETE FROM bot_refusal WHERE lead_id = ${leadId}`;
  const [row] = await tx<ErasedLead[]>`
    DELETE FROM lead WHERE id = ${leadId}
    RETURNING id, campaign_id AS "campaignId", bot_id AS "botId", chat_id AS "chatId", opted_out AS "optedOut"`;
  return row;
}
