/**
 * The limits of a message body. Lengths are UTF-16 units, as Telegram and JavaScript count them.
 */

/** 0 none, 1 photo, 2 video: the numbers of the REST reference. */
export type MediaType = 0 | 1 | 2;

/** A text message, after entities are parsed. */
export const TEXT_LIMIT = 4096;

/** The text under a photo or a video, after entities are parsed. */
export const MEDIA_TEXT_LIMIT = 1024;

/** The Markdown source. Marks and addresses do not count as text, so it may be longer; this bounds the work of parsing. */
export const SOURCE_LIMIT = 16_384;

/** A button's caption. */
export const BUTTON_LIMIT = 64;

/** A button's address, and the address of a link in the text. */
export const LINK_LIMIT = 2048;

/** A media ref; ours are far shorter. */
export const MEDIA_REF_LIMIT = 255;

/** What one macro may put in: as long as the longest value that a lead can hold. */
export const MACRO_VALUE_LIMIT = 255;

/** How long the parsed text of a message with this media may be. */
export function textLimit(mediaType: MediaType): number {
  return mediaType === 0 ? TEXT_LIMIT : MEDIA_TEXT_LIMIT;
}
