import { contentHash, fileFromFileId, fileIdFromFile, type MediaKind, type StoredFile, uniqueIdOf } from "./file-id.ts";
import { type ImageSize, imageSize } from "./image-size.ts";
import { badRequest, type Refusal, tooLarge, wrongFile } from "./refusal.ts";

const maxPhotoBytes = 10 * 1024 * 1024;
const maxVideoBytes = 50 * 1024 * 1024;
const maxSides = 10_000;
const maxRatio = 20;
/** Telegram keeps a photo in sizes whose longer side is at most this. */
const longerSides = [320, 800, 1_280];

export interface Media {
  file: StoredFile;
  uploaded: boolean;
}

/** Where a call's media comes from: the bytes of a file part, or the text that stands for a file. */
export type MediaSource = File | string | undefined;

export interface MediaContext {
  bot: number;
  kind: MediaKind;
  /** Ids that were made up to then are no longer valid. */
  expiredUpTo: number;
  madeAt: number;
  check: boolean;
}

/** The file that the call sends, or why it cannot be sent. Addresses are not fetched: any http or https one is taken. */
export async function mediaFromSource(source: MediaSource, context: MediaContext): Promise<Media | Refusal> {
  if (source === undefined || source === "")
    return badRequest("bad_media", `there is no ${context.kind} in the request`);
  if (typeof source !== "string") return uploadedMedia(source, context);
  if (/^https?:\/\/[^/?#\s]*\.[^\s]*$/i.test(source)) return { file: linkedFile(source, context), uploaded: false };
  const file = fileFromFileId(source);
  const usable = file?.bot === context.bot && file.kind === context.kind && file.madeAt > context.expiredUpTo;
  return usable ? { file, uploaded: false } : wrongFile;
}

async function uploadedMedia(source: File, context: MediaContext): Promise<Media | Refusal> {
  if (context.check && source.size > (context.kind === "photo" ? maxPhotoBytes : maxVideoBytes)) return tooLarge;
  if (source.size === 0) return badRequest("bad_media", "file must be non-empty");
  const bytes = new Uint8Array(await source.arrayBuffer());
  const size = context.kind === "photo" ? imageSize(bytes) : { width: 0, height: 0 };
  const refusal = context.check && context.kind === "photo" ? photoProblem(size) : undefined;
  if (refusal) return refusal;
  return { file: storedFile(context, contentHash(bytes), bytes.length, size), uploaded: true };
}

function photoProblem(size: ImageSize | undefined): Refusal | undefined {
  if (!size) return badRequest("bad_media", "IMAGE_PROCESS_FAILED");
  const { width, height } = size;
  const ratio = Math.max(width, height) / Math.min(width, height);
  const fits = width + height <= maxSides && ratio <= maxRatio;
  return fits ? undefined : badRequest("bad_dimensions", "PHOTO_INVALID_DIMENSIONS");
}

function linkedFile(address: string, context: MediaContext): StoredFile {
  return storedFile(context, contentHash(address), 0, { width: 0, height: 0 });
}

function storedFile(context: MediaContext, content: Buffer, bytes: number, size: ImageSize | undefined): StoredFile {
  const { bot, kind, madeAt } = context;
  return { bot, kind, madeAt, content, bytes, width: size?.width ?? 0, height: size?.height ?? 0 };
}

/** `photo` or `video` of a Message, with ids that the bot can send again. */
export function mediaFields(file: StoredFile): Record<string, unknown> {
  if (file.kind === "photo") return { photo: photoSizes(file) };
  return { video: { ...described(file), duration: 0, mime_type: "video/mp4" } };
}

/** Smallest first, as Telegram lists them; the last is the largest that it keeps. */
function photoSizes(file: StoredFile): Record<string, unknown>[] {
  const longer = Math.max(file.width, file.height);
  const largest = Math.min(longer, longerSides.at(-1)!);
  const sides = [...longerSides.filter((side) => side < largest), largest];
  return sides.map((side) => described(scaled(file, longer > 0 ? side / longer : 1)));
}

function scaled(file: StoredFile, factor: number): StoredFile {
  const width = Math.round(file.width * factor);
  return { ...file, width, height: Math.round(file.height * factor), bytes: Math.round(file.bytes * factor * factor) };
}

function described(file: StoredFile): Record<string, unknown> {
  return {
    file_id: fileIdFromFile(file),
    file_unique_id: uniqueIdOf(file),
    width: file.width,
    height: file.height,
    file_size: file.bytes,
  };
}
