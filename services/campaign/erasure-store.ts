/** Statements that erase a person. */
import type { TransactionSql } from "#services/core/database/client.ts";

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
