import { noteChange } from "#services/audit/record.ts";
import type { Sql } from "#services/database/client.ts";
import { retryCollisions } from "#services/database/retry.ts";
import { applyFact, type ReachabilityFact } from "#services/ledger/reachability.ts";
import { SendReason } from "#services/ledger/send.ts";
import { notYours } from "#services/platform/domain-error.ts";
import type { SecretBox } from "#services/platform/secrets.ts";
import { callbackAnswer, readUpdate, type UpdateEvent } from "./update.ts";
import { selectUpdateBot, updateChatOptedOut } from "./update-store.ts";
import { isWebhookSecret } from "./webhook-secret.ts";

export interface UpdateInput {
  botId: number;
  /** As Telegram sent it. */
  updateJson: string;
  /** What came in the secret-token header; undefined where the caller has verified the update. */
  webhookSecret: string | undefined;
}

/**
 * Takes in one update of a bot. Telegram repeats updates, so everything may come again. What is queued is left alone: the
 * claim of each send looks at its lead.
 *
 * Throws DomainError NOT_YOURS for an unknown bot and for a wrong secret alike, INVALID_ARGUMENT for what is no update, and
 * UNAVAILABLE where the stored secret cannot be opened.
 * @returns JSON of the Bot API call that answers the update; empty for none.
 */
export async function handleUpdate(
  { sql, secretBox }: { sql: Sql; secretBox: SecretBox },
  { botId, updateJson, webhookSecret }: UpdateInput,
): Promise<string> {
  const verified = webhookSecret === undefined || (await isWebhookSecret(sql, secretBox, botId, webhookSecret));
  const bot = verified ? await selectUpdateBot(sql, botId) : undefined;
  if (bot === undefined) throw notYours("bot");
  return await applyEvent(sql, bot.botIds, readUpdate(updateJson));
}

async function applyEvent(sql: Sql, botIds: number[], event: UpdateEvent): Promise<string> {
  switch (event.kind) {
    case "unsubscribe": {
      const { callbackId, campaignId, chatId } = event;
      const confirmed = await optOut(sql, { botIds, campaignId, chatId });
      return callbackAnswer(callbackId, { confirmed });
    }
    case "otherButton":
      noteChange({ changes: 0 });
      return callbackAnswer(event.callbackId, { confirmed: false });
    case "reachability":
      await retryCollisions(() => applyFact(sql, factOf(event, botIds)));
      return "";
    case "none":
      noteChange({ changes: 0 });
      return "";
    default:
      return event satisfies never;
  }
}

/** An update that does not say when it happened, which Telegram never sends, is a report of this moment. */
function factOf(event: Extract<UpdateEvent, { kind: "reachability" }>, botIds: number[]): ReachabilityFact {
  const { chatId, reachable, atSeconds, updateId } = event;
  const unreachable = reachable ? SendReason.none : SendReason.blocked;
  if (atSeconds === null) return { botIds, chatId, unreachable, atUs: null, updateId: null };
  return { botIds, chatId, unreachable, atUs: atSeconds * 1_000_000, updateId };
}

/** @returns false if the button was not one of ours. */
async function optOut(sql: Sql, tap: { botIds: number[]; campaignId: number; chatId: number }): Promise<boolean> {
  return (await sql.begin(async (tx) => {
    const changes = await updateChatOptedOut(tx, tap);
    noteChange({ object: { kind: "campaign", id: String(tap.campaignId) }, changes: changes ?? 0 });
    return changes !== undefined;
  })) as boolean;
}
