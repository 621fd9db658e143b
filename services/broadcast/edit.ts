import type { Queryable, Sql } from "#services/core/database/client.ts";
import { inTransaction } from "#services/core/ledger/transaction.ts";
import { checkBody, checkSendable, type MessageBody } from "#services/core/message/body.ts";
import { notYours } from "#services/platform/domain-error.ts";
import { type Audience, checkAudience } from "./audience.ts";
import { isOpen } from "./broadcast.ts";
import * as store from "./store.ts";

export interface BroadcastEdit {
  name: string;
  audience: Audience;
  body: MessageBody;
}

/** Throws unless the account may use the media of a body. See services/core/media. */
export type CheckMedia = (sql: Queryable, accountId: number, body: MessageBody) => Promise<void>;

/**
 * Replaces name, audience and body, in any state, all or nothing. A running broadcast's unsent messages get the new body:
 * each claim reads the one that is stored then, whole.
 * Throws DomainError INVALID_ARGUMENT, NOT_YOURS (broadcast or campaign), BODY_INVALID (nothing to send while open).
 */
export async function updateBroadcast(
  sql: Sql,
  accountId: number,
  broadcastId: number,
  edit: BroadcastEdit,
  checkMedia: CheckMedia,
): Promise<void> {
  const audience = checkAudience(edit.audience);
  const parsed = checkBody(edit.body);
  await inTransaction(sql, async (tx) => {
    const broadcast = await store.lockBroadcast(tx, accountId, broadcastId);
    if (!broadcast) throw notYours("broadcast");
    const own = await store.selectOwnCampaigns(tx, accountId, audience.campaignIds);
    if (own.size < audience.campaignIds.length) throw notYours("campaign");
    await checkMedia(tx, accountId, edit.body);
    if (isOpen(broadcast.state)) checkSendable(edit.body);
    await store.updateFields(tx, broadcastId, { name: edit.name, audience, body: edit.body, parsed });
    await store.replaceScope(tx, broadcastId, audience.campaignIds);
  });
}
