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

/** Formatted places and links in one text. Telegram takes more, and shows only the first hundred. */
export const ENTITY_LIMIT = 100;

/**
 * UTF-8 bytes of all addresses of links in one text, as they are sent. Telegram refuses the whole message when its entities
 * have some 9,500 bytes, of which each takes a few besides its address.
 */
export const LINK_BYTES_LIMIT = 9000;

/** A media ref; ours are far shorter. */
export const MEDIA_REF_LIMIT = 255;

/** What one macro may put in: as long as the longest value that a lead can hold. */
export const MACRO_VALUE_LIMIT = 255;

/** How long the parsed text of a message with this media may be. */
export function textLimit(mediaType: MediaType): number {
  return mediaType === 0 ? TEXT_LIMIT : MEDIA_TEXT_LIMIT;
}
