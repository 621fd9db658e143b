/** "Send to myself": what campaign and broadcast share. The sending itself is delivery's. */
import type { Client } from "@connectrpc/connect";
import type { DeliveryService } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import type { Sql } from "#services/core/database/client.ts";
import { loadEntitlement } from "#services/core/entitlement/entitlement.ts";
import { isEmptyBody, type MessageBody } from "#services/core/message/body.ts";
import { DomainError, ErrorReason, notYours } from "#services/platform/domain-error.ts";
import { reasonFromError } from "#services/platform/rpc/errors.ts";

export type PreviewClient = Pick<Client<typeof DeliveryService>, "sendPreview">;

/**
 * Sends a body to the account's own chat with the service bot: text and button only, with sample values.
 * Throws DomainError NOT_SET_UP (no chat linked), BODY_INVALID (no text), and whatever DeliveryService refuses with.
 */
export async function sendPreview(
  sql: Sql,
  delivery: PreviewClient,
  accountId: number,
  body: Pick<MessageBody, "text" | "button" | "link">,
): Promise<void> {
  const entitlement = await loadEntitlement(sql, accountId);
  if (!entitlement) throw notYours("account");
  if (entitlement.telegramChatId <= 0) {
    throw new DomainError(
      ErrorReason.NOT_SET_UP,
      "Your account has no Telegram chat yet: link one in your profile by pressing Start in the service bot, then try again.",
    );
  }
  if (isEmptyBody({ ...body, media: "", mediaType: 0 })) {
    throw new DomainError(ErrorReason.BODY_INVALID, "A preview shows the text and the button: write a text first.", {
      field: "text",
    });
  }
  const { text, button, link } = body;
  const chatId = BigInt(entitlement.telegramChatId);
  await passOn(delivery.sendPreview({ accountId: BigInt(accountId), chatId, text, button, link }));
}

/** What delivery refuses with is passed on to the caller as it is. Throws DomainError. */
export async function passOn<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    const { reason, message, ...rest } = reasonFromError(error);
    throw new DomainError(reason, message, { ...rest, cause: error });
  }
}
