import { Database } from "bun:sqlite";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SetupError } from "./setup-error.ts";

export interface FolderLock {
  release(): void;
}

/**
 * Takes a folder for this process, creating it (mode 700) if need be. The lock is a kernel file lock held through
 * SQLite, so it ends with the process, however that dies: no stale pid file can block the next start.
 *
 * @throws SetupError if another process holds it, or the folder cannot be written.
 */
export function lockFolder(folder: string): FolderLock {
  const owner = join(folder, "owner.pid");
  const database = openLock(folder);
  try {
    database.run("BEGIN EXCLUSIVE");
  } catch (cause) {
    database.close();
    const pid = readOwner(owner);
    throw new SetupError(`The folder ${folder} is in use by another running Leadcast${pid}; stop that one first.`, {
      cause,
    });
  }
  writeFileSync(owner, `${process.pid}\n`);
  return { release: () => database.close() };
}

function openLock(folder: string): Database {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const probe = join(folder, "owner.lock");
    const database = new Database(probe, { create: true });
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    return database;
  } catch (cause) {
    throw new SetupError(`The folder ${folder} cannot be used: ${reasonOf(cause)}.`, { cause });
  }
}

function readOwner(path: string): string {
  try {
    return ` (process ${readFileSync(path, "utf8").trim()})`;
  } catch {
    return "";
  }
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message.replace(/\.$/, "") : String(cause);
}
