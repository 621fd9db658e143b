/** Statements about media. All of them are raw: drizzle would put the bytes into its errors. */
import type postgres from "postgres";
import type { TransactionSql } from "#services/core/database/client.ts";
import type { MediaInfo } from "./inspect.ts";

/** A client or a transaction on one. */
export type Queryable = postgres.ISql<{ bigint: number }>;

export interface NewMedia extends MediaInfo {
  ref: string;
  accountId: number;
  sha256: Uint8Array;
  /** In bytes. */
  size: number;
}

/**
 * Waits for another upload of the same bytes that is under way.
 * @returns false where the account has these bytes already; nothing is changed then.
 */
export async function insertMedia(tx: TransactionSql, media: NewMedia): Promise<boolean> {
  const { ref, accountId, sha256, size, mediaType, mimeType, width, height } = media;
  const rows = await tx`
    INSERT INTO media (ref, account_id, sha256, size, media_type, mime_type, width, height)
    VALUES (${ref}, ${accountId}, ${sha256}, ${size}, ${mediaType}, ${mimeType}, ${width}, ${height})
    ON CONFLICT (account_id, sha256) DO NOTHING RETURNING ref`;
  return rows.length > 0;
}

/** The ref of bytes that the account has, touched; undefined if it has not. */
export async function touchRefOfBytes(
  sql: Queryable,
  accountId: number,
  sha256: Uint8Array,
): Promise<string | undefined> {
  const [row] = await sql<{ ref: string }[]>`
    UPDATE media SET touched_at = now() WHERE account_id = ${accountId} AND sha256 = ${sha256} RETURNING ref`;
  return row?.ref;
}

/** Adds to what the account keeps, and holds that until the transaction ends. @returns the new sum, in bytes. */
export async function addUsage(tx: TransactionSql, accountId: number, bytes: number): Promise<number> {
  const [row] = await tx<{ bytes: number }[]>`
    INSERT INTO media_usage AS u (account_id, bytes) VALUES (${accountId}, ${bytes})
    ON CONFLICT (account_id) DO UPDATE SET bytes = u.bytes + excluded.bytes RETURNING bytes`;
  return row!.bytes;
}

export async function countMedia(tx: TransactionSql, accountId: number): Promise<number> {
  const [row] = await tx<{ count: number }[]>`SELECT count(*) AS count FROM media WHERE account_id = ${accountId}`;
  return row!.count;
}

export async function insertChunk(tx: TransactionSql, ref: string, n: number, bytes: Uint8Array): Promise<void> {
  await tx`INSERT INTO media_chunk (media_ref, n, bytes) VALUES (${ref}, ${n}, ${bytes})`;
}

export async function selectChunk(sql: Queryable, ref: string, n: number): Promise<Uint8Array | undefined> {
  const [row] = await sql<{ bytes: Uint8Array }[]>`
    SELECT bytes FROM media_chunk WHERE media_ref = ${ref} AND n = ${n}`;
  return row?.bytes;
}

/** What is known of a file without its bytes. */
export interface MediaRow extends Pick<NewMedia, "accountId" | "size" | "mediaType" | "mimeType"> {
  /** The sum over its chunks, which equals `size` unless something has gone wrong. */
  storedBytes: number;
}

/**
 * For an account that is about to use a file of its own: it will not be taken for an orphan now.
 * @returns false, with nothing changed, for a file of another account or type, and where there is none.
 */
export async function touchMedia(sql: Queryable, accountId: number, ref: string, mediaType: number): Promise<boolean> {
  const result = await sql`
    UPDATE media SET touched_at = now()
    WHERE ref = ${ref} AND account_id = ${accountId} AND media_type = ${mediaType}`;
  return result.count > 0;
}

export async function selectMedia(sql: Queryable, ref: string): Promise<MediaRow | undefined> {
  const [row] = await sql<MediaRow[]>`
    SELECT account_id AS "accountId", size, media_type AS "mediaType", mime_type AS "mimeType",
      (SELECT coalesce(sum(octet_length(bytes)), 0) FROM media_chunk WHERE media_ref = ref)::int AS "storedBytes"
    FROM media WHERE ref = ${ref}`;
  return row;
}

/** Names a file and the bot that sends it. */
export interface BotFile {
  botId: number;
  ref: string;
}

/** What a bot has of a file: its file_id, or until when somebody uploads it at the latest. */
export interface FileRow {
  fileId: string | null;
  uploadingUntil: Date | null;
  /** Whether that is still to come. */
  uploading: boolean;
}

export async function selectFile(sql: Queryable, { botId, ref }: BotFile): Promise<FileRow | undefined> {
  const [row] = await sql<FileRow[]>`
    SELECT file_id AS "fileId", uploading_until AS "uploadingUntil",
      coalesce(uploading_until > clock_timestamp(), false) AS uploading
    FROM media_file
    WHERE bot_id = ${botId} AND media_ref = ${ref}`;
  return row;
}

/**
 * Makes `owner` the uploader, unless there is a file_id or somebody else's lease has not lapsed. Either way the row is
 * held until the transaction ends.
 * @returns the upload's number; undefined if `owner` has not become the uploader.
 */
export async function upsertUploader(
  tx: TransactionSql,
  { botId, ref }: BotFile,
  { owner, leaseMs }: { owner: string; leaseMs: number },
): Promise<number | undefined> {
  const [row] = await tx<{ version: number }[]>`
    INSERT INTO media_file AS f (bot_id, media_ref, uploader, uploading_until)
    VALUES (${botId}, ${ref}, ${owner}, clock_timestamp() + ${leaseMs}::float8 * interval '1 ms')
    ON CONFLICT (bot_id, media_ref) DO UPDATE
      SET uploader = excluded.uploader, version = f.version + 1,
        uploading_until = clock_timestamp() + ${leaseMs}::float8 * interval '1 ms'
      WHERE f.file_id IS NULL AND (f.uploading_until IS NULL OR f.uploading_until <= clock_timestamp())
    RETURNING f.version`;
  return row?.version;
}

/** @returns false if `owner` is not the uploader, or no longer. */
export async function updateUploaded(
  sql: Queryable,
  { botId, ref }: BotFile,
  { owner, fileId }: { owner: string; fileId: string },
): Promise<boolean> {
  const rows = await sql`
    UPDATE media_file SET file_id = ${fileId}, uploader = NULL, uploading_until = NULL
    WHERE bot_id = ${botId} AND media_ref = ${ref} AND uploader = ${owner} AND file_id IS NULL RETURNING bot_id`;
  return rows.length > 0;
}

export async function clearUploader(sql: Queryable, { botId, ref }: BotFile, owner: string): Promise<void> {
  await sql`
    UPDATE media_file SET uploader = NULL, uploading_until = NULL
    WHERE bot_id = ${botId} AND media_ref = ${ref} AND uploader = ${owner}`;
}

/** Only if it still is this one, and none was dropped within the interval. @returns whether it was. */
export async function clearFileId(
  sql: Queryable,
  { botId, ref }: BotFile,
  { fileId, intervalSeconds }: { fileId: string; intervalSeconds: number },
): Promise<boolean> {
  const rows = await sql`
    UPDATE media_file SET file_id = NULL, dropped_at = clock_timestamp()
    WHERE bot_id = ${botId} AND media_ref = ${ref} AND file_id = ${fileId}
      AND coalesce(dropped_at <= clock_timestamp() - ${intervalSeconds} * interval '1 second', true)
    RETURNING bot_id`;
  return rows.length > 0;
}
