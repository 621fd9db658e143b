import { checkBody, checkSendable, emptyBody, type MessageBody } from "#services/core/message/body.ts";
import type { ParsedText } from "#services/core/message/markdown.ts";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";

/** Statuses of leads, in the order of their numbers. */
export const STATUSES = [0, 1, 2, 3, 4] as const;

/** The follow-up of one campaign and status. */
export interface Block {
  status: number;
  on: boolean;
  /** Seconds between the entry and the message. */
  delaySeconds: number;
  body: MessageBody;
}

/** What a call changes about a block; what it leaves out stays as stored. */
export interface BlockPatch extends Partial<MessageBody> {
  on?: boolean;
  delaySeconds?: number;
}

/** The block of a status that nobody has written yet. */
export function zeroBlock(status: number): Block {
  return { status, on: false, delaySeconds: 0, body: { ...emptyBody } };
}

/** The block as it would be stored. Media that is taken away takes its type along. */
export function applyPatch(block: Block, patch: BlockPatch): Block {
  const { body } = block;
  const media = patch.media ?? body.media;
  const mediaType = patch.mediaType ?? (patch.media === "" ? 0 : body.mediaType);
  return {
    status: block.status,
    on: patch.on ?? block.on,
    delaySeconds: patch.delaySeconds ?? block.delaySeconds,
    body: {
      text: patch.text ?? body.text,
      media,
      mediaType,
      button: patch.button ?? body.button,
      link: patch.link ?? body.link,
    },
  };
}

/** Whether leads would get something else than before: what raises the revision. */
export function bodyChanged(before: MessageBody, after: MessageBody): boolean {
  return (["text", "media", "mediaType", "button", "link"] as const).some((field) => before[field] !== after[field]);
}

/** Stands for the half of a button that a call leaves out, so that the other half can be judged by itself. */
const PLACEHOLDER = { button: "-", link: "https://example.com/" };

/**
 * Refuses what no stored value could make good: a call's own parameters are judged before anybody asks whose campaign it
 * is and what the tariff allows. Throws DomainError INVALID_ARGUMENT.
 */
export function checkPatch({ text = "", media, mediaType, button, link }: BlockPatch): void {
  const attached = media !== undefined && mediaType !== undefined ? { media, mediaType } : undefined;
  const given = { button: button ?? (link && PLACEHOLDER.button), link: link ?? (button && PLACEHOLDER.link) };
  checkBody({ ...emptyBody, text, ...attached, button: given.button ?? "", link: given.link ?? "" });
}

/**
 * Decides whether a block may be stored as it is, in the contract's order: first the feature, then the body. A block that
 * is off may always be stored, so that a downgraded account can still turn one off.
 *
 * @returns the body's text, parsed.
 */
export function checkBlock(block: Block, { broadcasts }: { broadcasts: boolean }): ParsedText {
  if (block.on && !broadcasts) {
    throw new DomainError(
      ErrorReason.FEATURE_MISSING,
      "The tariff does not include broadcasts: upgrade it to turn a block on.",
      { field: "on" },
    );
  }
  const parsed = checkBody(block.body);
  if (block.on) checkSendable(block.body);
  return parsed;
}
