/**
 * Which file_id stands for a media file at one bot. A file_id is valid only for the bot that made it, so each bot uploads
 * a file once:
 *
 * ```
 *            claimFile: upload            storeFile
 *   nothing ──────────────────► leased ─────────────────► known ──► claimFile: fileId
 *      ▲  ▲                        │ │                       │
 *      │  └──── releaseFile ───────┘ └─► claimFile: wait     │
 *      └──────────── forgetFile, once an hour ───────────────┘
 * ```
 *
 * A lease that lapses (its uploader died) counts as nothing. All times are Postgres' own. No state is kept here: any
 * number of processes may call at once.
 */
import type { Sql } from "#services/core/database/client.ts";
import {
  type BotFile,
  clearFileId,
  clearUploader,
  type FileRow,
  type Queryable,
  selectFile,
  updateUploaded,
  upsertUploader,
} from "./store.ts";

export interface FileClaimInput extends BotFile {
  /** Names this one upload, not the process: a process that tries again later is another owner. */
  owner: string;
  /** How long the upload may take: its timeout and a margin. */
  leaseMs: number;
}

export type FileClaim =
  /** Send this. */
  | { fileId: string }
  /** Upload it with the send and call `storeFile` or `releaseFile`. `version` counts the uploads begun at this bot. */
  | { upload: true; version: number }
  /** Somebody uploads it: ask again, at the latest then. */
  | { wait: true; until: Date };

/** Answers how to send a file through a bot; of all who ask at once, exactly one is told to upload it. */
export async function claimFile(sql: Sql, { botId, ref, owner, leaseMs }: FileClaimInput): Promise<FileClaim> {
  const file = { botId, ref };
  // All but those who find nothing end here, with a read.
  const known = await selectFile(sql, file);
  if (known?.fileId || known?.uploading) return claimOf(known);
  return await sql.begin(async (tx): Promise<FileClaim> => {
    const version = await upsertUploader(tx, file, { owner, leaseMs });
    if (version !== undefined) return { upload: true, version };
    // The upsert holds the row, so this is what it has met: a file_id, or a lease.
    return claimOf((await selectFile(tx, file))!);
  });
}

function claimOf({ fileId, uploadingUntil }: FileRow): FileClaim {
  return fileId === null ? { wait: true, until: uploadingUntil! } : { fileId };
}

/**
 * The upload of `owner` has succeeded. Counts also when the lease has lapsed, as long as nobody else has taken it over.
 * @returns false if somebody has; that one's file_id will count.
 */
export async function storeFile(
  sql: Queryable,
  { botId, ref, owner, fileId }: BotFile & { owner: string; fileId: string },
): Promise<boolean> {
  return await updateUploaded(sql, { botId, ref }, { owner, fileId });
}

/** The upload of `owner` has failed: the next one who asks uploads. Does nothing if it is not the uploader any more. */
export async function releaseFile(sql: Queryable, { botId, ref, owner }: BotFile & { owner: string }): Promise<void> {
  await clearUploader(sql, { botId, ref }, owner);
}

/** How a file_id that stopped working was let go. */
export type Forgotten =
  /** By this call: the next one who asks uploads. */
  | "dropped"
  /** By somebody else: another one is there, or is being made. */
  | "gone"
  /** Not at all: one was dropped less than an hour ago, so a new one does not help. */
  | "kept";

/** A file that is refused is uploaded again once in this time; more often would be an upload for each lead. */
const DROP_INTERVAL_SECONDS = 3_600;

/**
 * A file_id has stopped working: the next one who asks uploads again. Of those who met the same dead file_id one drops it,
 * and a newer one stays.
 */
export async function forgetFile(
  sql: Queryable,
  { botId, ref, fileId }: BotFile & { fileId: string },
): Promise<Forgotten> {
  const file = { botId, ref };
  if (await clearFileId(sql, file, { fileId, intervalSeconds: DROP_INTERVAL_SECONDS })) return "dropped";
  return (await selectFile(sql, file))?.fileId === fileId ? "kept" : "gone";
}
