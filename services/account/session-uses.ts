/**
 * Notes when sessions were last used. Each REST call uses one, so uses are collected and written together, once a second: a use
 * that is not written yet is lost with the process, and another copy learns of it a second later.
 */
import type { Sql } from "#services/core/database/client.ts";
import type { Clock } from "#services/platform/clock.ts";
import { updateLastUsed } from "./session-store.ts";

export interface SessionUsesOptions {
  sql: Sql;
  clock: Clock;
  onError: (error: unknown) => void;
}

const WRITE_AFTER_MS = 1_000;
/** Sessions in one statement; more than are used in a second. What is above waits for the next one. */
const BATCH = 5_000;

export class SessionUses {
  readonly #options: SessionUsesOptions;
  /** By the hash in hexadecimal: when, on the monotonic clock. */
  #uses = new Map<string, number>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: SessionUsesOptions) {
    this.#options = options;
  }

  note(tokenHash: Uint8Array): void {
    this.#uses.set(Buffer.from(tokenHash).toString("hex"), this.#options.clock.monotonicMs());
    this.#timer ??= setTimeout(() => void this.flush(), WRITE_AFTER_MS).unref();
  }

  /** Writes what was noted so far. Never rejects: uses that could not be written are reported and given up. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const uses = this.#uses;
    this.#uses = new Map();
    this.#writing = this.#writing.then(() => this.#write([...uses])).catch(this.#options.onError);
    await this.#writing;
  }

  async #write(uses: readonly [hash: string, atMs: number][]): Promise<void> {
    const { sql, clock } = this.#options;
    for (let at = 0; at < uses.length; at += BATCH) {
      const batch = uses.slice(at, at + BATCH);
      const now = clock.monotonicMs();
      const hashes = batch.map(([hash]) => hash);
      await updateLastUsed(
        sql,
        hashes,
        batch.map(([, atMs]) => now - atMs),
      );
    }
  }
}
