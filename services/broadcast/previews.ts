import type { Sql } from "#services/core/database/client.ts";
import { type PreviewClient, sendPreview } from "#services/core/preview/preview.ts";
import { notYours } from "#services/platform/domain-error.ts";
import { selectBroadcast } from "./store.ts";

/** Sends the stored body to its owner. Throws DomainError NOT_YOURS, and what `sendPreview` throws. */
export async function sendToMyself(
  sql: Sql,
  delivery: PreviewClient,
  accountId: number,
  broadcastId: number,
): Promise<void> {
  const broadcast = await selectBroadcast(sql, accountId, broadcastId);
  if (!broadcast) throw notYours("broadcast");
  await sendPreview(sql, delivery, accountId, broadcast);
}
