/** Photos and videos that accounts have uploaded: kept in Postgres in chunks, named by refs that nobody can guess. */
import { createHash, randomBytes } from "node:crypto";
import { noteChange } from "#services/core/audit/record.ts";
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { SqlState, sqlStateOf } from "#services/core/database/retry.ts";
import { DomainError, ErrorReason, notYours } from "#services/platform/domain-error.ts";
import { inspectMedia, type MediaInfo } from "./inspect.ts";
import {
  addUsage,
  countMedia,
  insertChunk,
  insertMedia,
  type Queryable,
  selectChunk,
  selectMedia,
  touchMedia,
  touchRefOfBytes,
} from "./store.ts";

/** What one account may keep, in bytes: some hundred photos and twenty of the longest videos. */
export const MEDIA_QUOTA_BYTES = 1024 ** 3;

/** Files of an account, as the smallest ones would fit by the million. */
const MAX_FILES = 10_000;

/** Small enough that a reader needs little memory, large enough that the longest video is 200 rows. */
export const CHUNK_BYTES = 256 * 1024;

export interface StoredMedia {
  ref: string;
  mediaType: MediaInfo["mediaType"];
  /** What its owner should know of how it will be shown; empty for nothing. */
  note: string;
}

const ANIMATED_NOTE =
  "Telegram shows only the first frame of an animated picture: upload it as an MP4 video if it shall move.";

/**
 * Checks a file and keeps it, whole or not at all. The same bytes uploaded again by the same account, also at the same
 * moment, are kept once and give the same ref.
 *
 * Throws DomainError INVALID_ARGUMENT (field `content`) for a file that cannot be sent, LIMIT_REACHED where it has no
 * room, and NOT_YOURS for an account that does not exist.
 */
export async function uploadMedia(
  sql: Sql,
  accountId: number,
  bytes: Uint8Array,
  { quotaBytes = MEDIA_QUOTA_BYTES }: { quotaBytes?: number } = {},
): Promise<StoredMedia> {
  const info = inspectMedia(bytes);
  const sha256 = createHash("sha256").update(bytes).digest();
  const told = { mediaType: info.mediaType, note: info.isAnimated ? ANIMATED_NOTE : "" };
  // 128 bits in 22 characters.
  const media = { ...info, ref: randomBytes(16).toString("base64url"), accountId, sha256, size: bytes.length };
  try {
    return await sql.begin(async (tx) => {
      const isNew = await insertMedia(tx, media);
      // A statement of its own: it sees the upload that the insert has waited for.
      if (!isNew) {
        noteChange({ changes: 0 });
        return { ref: (await touchRefOfBytes(tx, accountId, sha256))!, ...told };
      }
      await takeRoom(tx, accountId, bytes.length, quotaBytes);
      await insertChunks(tx, media.ref, bytes);
      noteChange({ object: { kind: "media", id: media.ref }, changes: 1 });
      return { ref: media.ref, ...told };
    });
  } catch (error) {
    if (sqlStateOf(error) === SqlState.foreignKeyViolation) throw notYours("account");
    throw error;
  }
}

/** Refusing undoes the transaction, and with it what was added; uploads side by side come one after the other here. */
async function takeRoom(tx: TransactionSql, accountId: number, size: number, quotaBytes: number): Promise<void> {
  const usage = await addUsage(tx, accountId, size);
  // Behind the lock on the sum, so that it sees every file of those who came before.
  if ((await countMedia(tx, accountId)) > MAX_FILES) {
    throw new DomainError(
      ErrorReason.LIMIT_REACHED,
      `You have ${MAX_FILES} files, which is the most: use one that you have uploaded before.`,
      { field: "content" },
    );
  }
  if (usage <= quotaBytes) return;
  throw new DomainError(
    ErrorReason.LIMIT_REACHED,
    `Your media storage is full: of ${megabytes(quotaBytes)} MB ${megabytes(usage - size)} MB are taken, and this file ` +
      `needs ${megabytes(size)} MB. Use a smaller file or one that you have uploaded before, or ask for more room.`,
    { field: "content" },
  );
}

function megabytes(bytes: number): string {
  return (bytes / 1024 ** 2).toFixed(1);
}

async function insertChunks(tx: TransactionSql, ref: string, bytes: Uint8Array): Promise<void> {
  for (let n = 0; n * CHUNK_BYTES < bytes.length; n++) {
    await insertChunk(tx, ref, n, bytes.subarray(n * CHUNK_BYTES, (n + 1) * CHUNK_BYTES));
  }
}

/** The media of a body. */
export interface MediaOfBody {
  /** A ref; empty for none. */
  media: string;
  mediaType: number;
}

/**
 * Refuses media that the account has not uploaded, or that is of another type than the body says. Another account's ref,
 * one that does not exist and one of the other type are refused in the same words. Media that pass are touched, so that
 * retention does not take them for orphans before the body is stored.
 *
 * Throws DomainError INVALID_ARGUMENT, field `media`.
 */
export async function checkMediaRef(
  sql: Queryable,
  accountId: number,
  { media, mediaType }: MediaOfBody,
): Promise<void> {
  if (media === "" && mediaType === 0) return;
  // A ref is ASCII; Postgres refuses a NUL, which would look like a fault of ours.
  if (/^[\w-]{1,64}$/.test(media) && (await touchMedia(sql, accountId, media, mediaType))) return;
  throw new DomainError(
    ErrorReason.INVALID_ARGUMENT,
    "There is no such media of this type in your account: upload the file, and give the ref and the type it answers.",
    { field: "media" },
  );
}

/** What a sender needs to know of a file before it reads it. */
export interface OpenMedia {
  /** In bytes. */
  size: number;
  mediaType: MediaInfo["mediaType"];
  mimeType: MediaInfo["mimeType"];
  /** Says nothing of the account or the ref: receivers can see it. */
  fileName: string;
}

/**
 * Throws DomainError NOT_YOURS for a ref that does not exist, and any other error where bytes of it are missing: better
 * before a request that carries it is begun than in its middle. Whose it is, its user has checked when saving the body.
 */
export async function openMedia(sql: Queryable, ref: string): Promise<OpenMedia> {
  const row = await selectMedia(sql, ref);
  if (row === undefined) throw notYours("media");
  const { size, storedBytes, mediaType, mimeType } = row;
  if (storedBytes !== size) throw new Error(`Of a media file of ${size} bytes ${storedBytes} are stored.`);
  return { size, mediaType, mimeType, fileName: FILE_NAMES[mimeType] };
}

const FILE_NAMES: Record<MediaInfo["mimeType"], string> = {
  "image/jpeg": "photo.jpg",
  "image/png": "photo.png",
  "image/webp": "photo.webp",
  "video/mp4": "video.mp4",
};

/**
 * The bytes in order, a chunk at a time: no more than one is in memory, and no connection is held between two. Throws as
 * `openMedia` does, when the first chunk is asked for.
 */
export async function* readMedia(sql: Queryable, ref: string): AsyncGenerator<Uint8Array, void, void> {
  const { size } = await openMedia(sql, ref);
  for (let n = 0; n * CHUNK_BYTES < size; n++) {
    const bytes = await selectChunk(sql, ref, n);
    if (bytes === undefined) throw new Error(`Chunk ${n} of a media file of ${size} bytes is missing.`);
    yield bytes;
  }
}
