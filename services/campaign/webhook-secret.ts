/**
 * The secret by which Telegram proves itself at a bot's webhook: sealed in the bot's row, and replaced without an update lost.
 *
 * ```
 *   one counts ── rotate ──► two count ── Telegram has taken the new one ──► two count for 10 minutes ──► one counts
 *                              └─ rotate again: Telegram is told the same new one again
 * ```
 *
 * Invariants:
 * 1. The secret that Telegram may be using counts: the former one ends only after Telegram has taken the new one, and what was
 *    under way with it has come.
 * 2. A rotation whose process died is finished by the next call, RotateWebhookSecret or PutBot with `set_webhook`.
 * 3. Delivery tells Telegram the secret that is stored, and looks again whether it still is (services/delivery/webhooks.ts), so that of
 *    calls that overlap the last word is the stored one.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { Client } from "@connectrpc/connect";
import type { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { noteChange } from "#services/core/audit/record.ts";
import type { Sql } from "#services/core/database/client.ts";
import { passOn } from "#services/core/preview/preview.ts";
import { DomainError, ErrorReason, notYours } from "#services/platform/domain-error.ts";
import { webhookSecretContext } from "#services/platform/secret-contexts.ts";
import { type SecretBox, SecretError } from "#services/platform/secrets.ts";
import * as store from "./webhook-store.ts";

/** Telegram takes A–Z, a–z, 0–9, _ and -, up to 256 of them. */
export function newWebhookSecret(secretBox: SecretBox, botId: number): string {
  return secretBox.encrypt(randomBytes(32).toString("base64url"), webhookSecretContext(botId));
}

/**
 * Whether this is a bot's secret, present or former. False for an unknown bot too.
 * Throws DomainError UNAVAILABLE if it may be: what is stored cannot be opened, and Telegram shall send the update again.
 */
export async function isWebhookSecret(sql: Sql, secretBox: SecretBox, botId: number, given: string): Promise<boolean> {
  const stored = await store.selectSecrets(sql, botId);
  if (stored === undefined) return false;
  let closed: SecretError | undefined;
  const open = (sealed: string | null): string => {
    if (sealed === null) return "";
    try {
      return secretBox.decrypt(sealed, webhookSecretContext(botId));
    } catch (error) {
      if (!(error instanceof SecretError)) throw error;
      closed = error;
      return "";
    }
  };
  // Each is compared, so that the time taken tells nothing of which it was.
  const equal = [stored.plain, open(stored.sealed), open(stored.former)].map((secret) => isSecret(given, secret));
  if (equal.includes(true)) return true;
  if (closed === undefined) return false;
  throw new DomainError(
    ErrorReason.UNAVAILABLE,
    "This bot's webhook secret cannot be opened: SECRET_KEYS lacks its key.",
    {
      cause: closed,
    },
  );
}

/** In constant time: digests have one length. An empty secret opens to nobody. */
function isSecret(given: string, stored: string): boolean {
  return timingSafeEqual(digest(given), digest(stored)) && stored !== "";
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

export interface WebhookContext {
  sql: Sql;
  secretBox: SecretBox;
  delivery: Pick<Client<typeof DeliveryService>, "setWebhook">;
}

/** Gives a bot's webhook a new secret, or finishes doing so. Throws DomainError NOT_YOURS, and what SetWebhook refuses with. */
export async function rotateWebhookSecret(
  context: WebhookContext,
  { accountId, botId }: { accountId: number; botId: number },
): Promise<void> {
  const { sql, secretBox } = context;
  const version = (await sql.begin(async (tx) => {
    const stored = await store.lockSecrets(tx, botId, accountId);
    if (stored === undefined) throw notYours("bot");
    noteChange({ changes: stored.pending ? 0 : 1 });
    if (stored.pending) return stored.version;
    const former = stored.sealed ?? secretBox.encrypt(stored.plain, webhookSecretContext(botId));
    await store.updateRotated(tx, botId, { sealed: newWebhookSecret(secretBox, botId), former });
    return stored.version + 1;
  })) as number;
  await setWebhook(context, { botId, version });
}

/** Has delivery tell Telegram, and then lets the former secret end. */
export async function setWebhook(
  { sql, delivery }: WebhookContext,
  { botId, version }: { botId: number; version: number },
): Promise<void> {
  await passOn(delivery.setWebhook({ botId: BigInt(botId) }));
  await store.endFormer(sql, botId, version);
}

/** Seals the secrets of before they were sealed. Repeatable, also by several processes at once. @returns how many. */
export async function sealPlainSecrets(sql: Sql, secretBox: SecretBox): Promise<number> {
  let sealed = 0;
  for (;;) {
    const plain = await store.selectPlain(sql);
    if (plain.length === 0) return sealed;
    await sql.begin(async (tx) => {
      for (const { botId, secret } of plain) {
        await store.updateSealed(tx, botId, secretBox.encrypt(secret, webhookSecretContext(botId)));
      }
      noteChange({ changes: plain.length });
    });
    sealed += plain.length;
  }
}
