import { noteChange } from "#services/core/audit/record.ts";
import { retryCollisions } from "#services/core/database/retry.ts";
import { applyFact, type ReachabilityFact } from "#services/core/ledger/reachability.ts";
import { SendReason } from "#services/core/ledger/send.ts";
import { notYours } from "#services/platform/domain-error.ts";
import { isSameBot, optOutChat, type PeopleContext } from "./opt-out.ts";
import { selectTapTarget } from "./opt-out-store.ts";
import { callbackAnswer, DEAD_BUTTON_TEXT, readUpdate, UNSUBSCRIBED_TEXT, type UpdateEvent } from "./update.ts";
import { selectUpdateBot, type UpdateBot } from "./update-store.ts";
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
  context: PeopleContext,
  { botId, updateJson, webhookSecret }: UpdateInput,
): Promise<string> {
  const { sql, secretBox } = context;
  const verified = webhookSecret === undefined || (await isWebhookSecret(sql, secretBox, botId, webhookSecret));
  const bot = verified ? await selectUpdateBot(sql, botId) : undefined;
  if (bot === undefined) throw notYours("bot");
  return await applyEvent(context, bot, readUpdate(updateJson));
}

async function applyEvent(context: PeopleContext, bot: UpdateBot, event: UpdateEvent): Promise<string> {
  switch (event.kind) {
    case "unsubscribe":
      return callbackAnswer(event.callbackId, await unsubscribe(context, bot, event));
    case "deadButton":
    case "otherButton":
      noteChange({ changes: 0 });
      return callbackAnswer(event.callbackId, event.kind === "deadButton" ? DEAD_BUTTON_TEXT : undefined);
    case "reachability":
      await retryCollisions(() => applyFact(context.sql, factOf(event, bot.botIds)));
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

/** @returns what the person reads: that it has worked, or what does where the campaign is not this bot's. */
async function unsubscribe(
  context: PeopleContext,
  { id }: UpdateBot,
  { campaignId, chatId }: { campaignId: number; chatId: number },
): Promise<string> {
  const target = await selectTapTarget(context.sql, id, campaignId);
  if (target === undefined || !isSameBot(context.secretBox, target)) {
    noteChange({ changes: 0 });
    return DEAD_BUTTON_TEXT;
  }
  await retryCollisions(() =>
    context.sql.begin(async (tx) => {
      const changed = await optOutChat(tx, context, target.of, { campaignId, chatId });
      noteChange({ object: { kind: "campaign", id: String(campaignId) }, changes: changed ? 1 : 0 });
    }),
  );
  return UNSUBSCRIBED_TEXT;
}
