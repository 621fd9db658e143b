import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The folder of this test process, in which it makes all the others. */
let processFolder: string | undefined;

/** A new empty folder, removed when the test process has ended, however it ends. */
export function temporaryFolder(name: string): string {
  processFolder ??= createProcessFolder();
  return mkdtempSync(join(processFolder, `${name}-`));
}

/** Removes a folder in which a process that was just killed may still be writing its last file. */
export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
}

/**
 * `bun test` runs no exit handlers, so a shell waits for the end of a pipe that only we hold. It lets a Postgres that is
 * ending for the same reason finish (at most 5 s) before it takes the files away.
 */
function createProcessFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "leadcast-test-"));
  const script = `while read -r _; do :; done; n=0
    while [ $n -lt 50 ] && ls "$1"/*/data/cluster/postmaster.pid >/dev/null 2>&1; do sleep 0.1; n=$((n + 1)); done
    rm -rf "$1"`;
  Bun.spawn(["sh", "-c", script, "leadcast-sweep", folder], {
    stdin: "pipe",
    stdout: "ignore",
    stderr: "ignore",
    detached: true,
  }).unref();
  return folder;
}
