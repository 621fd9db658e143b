import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";
import { hasMp4Brand, videoSize } from "./mp4.ts";
import { jpegSize, type PixelSize, pngSize, webpSize } from "./picture.ts";

/** What a file is. */
export interface MediaInfo {
  /** 1 photo, 2 video: the numbers of the REST reference. */
  mediaType: 1 | 2;
  mimeType: "image/jpeg" | "image/png" | "image/webp" | "video/mp4";
  /** In pixels; 0 for a video that does not say. */
  width: number;
  height: number;
  /** A picture of several frames, of which Telegram shows the first. */
  isAnimated?: true;
}

const MEBIBYTE = 1024 * 1024;
/** What the Bot API takes as an upload. */
const MAX_MEBIBYTES = { 1: 10, 2: 50 } as const;
/** The Bot API refuses photos beyond these. */
const MAX_PHOTO_SIDES = 10_000;
const MAX_PHOTO_RATIO = 20;

interface Format {
  mimeType: MediaInfo["mimeType"];
  mediaType: MediaInfo["mediaType"];
  name: string;
  matches: (bytes: Uint8Array) => boolean;
  size: (view: DataView) => PixelSize | undefined;
}

const FORMATS: readonly Format[] = [
  { mimeType: "image/jpeg", mediaType: 1, name: "JPEG", matches: startsWith([0xff, 0xd8, 0xff]), size: jpegSize },
  {
    mimeType: "image/png",
    mediaType: 1,
    name: "PNG",
    matches: startsWith([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    size: pngSize,
  },
  {
    mimeType: "image/webp",
    mediaType: 1,
    name: "WebP",
    matches: (bytes) => hasText(bytes, 0, "RIFF") && hasText(bytes, 8, "WEBP"),
    size: webpSize,
  },
  {
    mimeType: "video/mp4",
    mediaType: 2,
    name: "MP4",
    matches: (bytes) => bytes.length >= 16 && hasText(bytes, 4, "ftyp") && hasMp4Brand(viewOf(bytes)),
    size: videoSize,
  },
];

/**
 * Says what a file is from its first bytes and headers alone: names and declared types are not believed. A file that
 * passes is one that the Bot API takes as a photo or a video, as far as headers tell.
 *
 * Throws DomainError INVALID_ARGUMENT with a sentence that says what to do.
 */
export function inspectMedia(bytes: Uint8Array): MediaInfo {
  const format = FORMATS.find(({ matches }) => matches(bytes));
  if (format === undefined) {
    throw refused("The file is of a kind that cannot be sent: give a JPEG, PNG or WebP picture, or an MP4 video.");
  }
  checkLength(format, bytes.length);
  const size = sizeOf(format, bytes);
  if (format.mediaType === 1) checkPhoto(size.width, size.height);
  return { mediaType: format.mediaType, mimeType: format.mimeType, ...size };
}

function checkLength({ mediaType }: Format, length: number): void {
  const limit = MAX_MEBIBYTES[mediaType];
  if (length <= limit * MEBIBYTE) return;
  const kind = mediaType === 1 ? "picture" : "video";
  // Rounded up, so that no file is said to have the size that is allowed.
  const actual = Math.ceil((length / MEBIBYTE) * 10) / 10;
  throw refused(`The ${kind} has ${actual} MB: make it smaller, to at most ${limit} MB.`);
}

function sizeOf({ name, mediaType, size }: Format, bytes: Uint8Array): PixelSize {
  const found = orTruncated(name, () => size(viewOf(bytes)));
  if (found !== undefined) return found;
  throw refused(
    mediaType === 1
      ? `The ${name} picture has no valid header: open it and save it again.`
      : `The ${name} file holds no video that can be read: export it again.`,
  );
}

/** DataView throws a RangeError for every byte that is not there. */
function orTruncated<T>(name: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw refused(`The ${name} file is cut off: upload the whole file again.`);
  }
}

function checkPhoto(width: number, height: number): void {
  if (width + height > MAX_PHOTO_SIDES) {
    throw refused(
      `The picture has ${width} × ${height} pixels: scale it down until both sides together have at most ${MAX_PHOTO_SIDES}.`,
    );
  }
  if (Math.max(width, height) > MAX_PHOTO_RATIO * Math.min(width, height)) {
    throw refused(
      `The picture has ${width} × ${height} pixels: crop it until one side is at most ${MAX_PHOTO_RATIO} times the other.`,
    );
  }
}

function startsWith(magic: readonly number[]): (bytes: Uint8Array) => boolean {
  return (bytes) => magic.every((byte, index) => bytes[index] === byte);
}

function hasText(bytes: Uint8Array, at: number, text: string): boolean {
  return [...text].every((letter, index) => bytes[at + index] === letter.charCodeAt(0));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function refused(message: string): DomainError {
  return new DomainError(ErrorReason.INVALID_ARGUMENT, message, { field: "content" });
}
