import type { MessageBody } from "#services/message/body.ts";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";

/** What an account has uploaded under one ref. */
export interface StoredMedia {
  mediaType: MessageBody["mediaType"];
}

/**
 * Refuses a body whose media its account has not uploaded, or that is of another type than the body says.
 * @param stored what the account has under the body's ref; undefined for nothing.
 */
export function checkMediaRef(body: Pick<MessageBody, "media" | "mediaType">, stored: StoredMedia | undefined): void {
  if (body.media === "") return;
  if (stored === undefined) {
    throw new DomainError(ErrorReason.INVALID_ARGUMENT, "media: unknown media; upload the file first", {
      field: "media",
    });
  }
  if (stored.mediaType === body.mediaType) return;
  throw new DomainError(ErrorReason.INVALID_ARGUMENT, "media_type: the uploaded file is of the other type", {
    field: "media_type",
  });
}
