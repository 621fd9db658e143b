import { mkdir, open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import type { Bots, SavedBots } from "./bots.ts";

export interface StateFile {
  /** Reads what an earlier process left; a file that is missing is an empty one. Throws when it cannot be read. */
  load(): Promise<void>;
  /** Writes soon; changes that come close together are written once. */
  changed(): void;
  /** Writes now what is not written yet. */
  flush(): Promise<void>;
}

const writeDelayMs = 100;

/** Bots, tokens, webhooks and blocks, so that a restarted sandbox still knows where updates go. The record is not kept. */
export function createStateFile(path: string | undefined, bots: Bots): StateFile {
  if (path === undefined) return { load: async () => {}, changed: () => {}, flush: async () => {} };
  let timer: ReturnType<typeof setTimeout> | undefined;
  let writing = Promise.resolve();

  async function write(to: string): Promise<void> {
    const text = JSON.stringify(bots.save());
    await mkdir(dirname(to), { recursive: true });
    // The file holds tokens: nobody else may read it, and a crash never leaves half of it.
    const file = await open(`${to}.new`, "w", 0o600);
    try {
      await file.writeFile(text);
    } finally {
      await file.close();
    }
    await rename(`${to}.new`, to);
  }

  function flush(): Promise<void> {
    if (timer !== undefined) {
      clearTimeout(timer);
      timer = undefined;
      writing = writing.then(() => write(path!));
    }
    return writing;
  }

  return {
    load: async () => {
      const file = Bun.file(path);
      if (await file.exists()) bots.load((await file.json()) as SavedBots);
    },
    changed: () => {
      timer ??= setTimeout(() => {
        flush().catch((error: unknown) => console.error("The sandbox's state could not be written.", error));
      }, writeDelayMs);
    },
    flush,
  };
}
