/**
 * Media with a send. A bot uploads a file once and reuses the `file_id` that comes back (services/core/media/file-id.ts): the
 * first send carries the bytes, the others wait for it with their places in flight, so a bot that uploads claims nothing
 * more than its lane has room for. A `file_id` that stopped working is forgotten and uploaded again, once an hour; whatever
 * is refused in between is not the file_id's fault.
 */
import { randomUUID } from "node:crypto";
import type { Sql } from "#services/core/database/client.ts";
import type { ClaimedSend } from "#services/core/ledger/claim.ts";
import { SendReason } from "#services/core/ledger/send.ts";
import { claimFile, forgetFile, releaseFile, storeFile } from "#services/core/media/file-id.ts";
import { openMedia, readMedia } from "#services/core/media/media.ts";
import type { Clock } from "#services/platform/clock.ts";
import type { Deliver } from "./attempt.ts";
import type { Outcome } from "./outcome.ts";

export interface AttachmentsOptions {
  sql: Sql;
  clock: Clock;
  /** How long one upload may take at the Bot API. */
  uploadTimeoutMs: number;
  /** How long the answer to a send of a known file may take: what must be left when waiting ends. */
  timeoutMs: number;
}

const POLL_MS = 250;
/** Uploads are leased for their timeout and this. */
const LEASE_MARGIN_MS = 5_000;
/** A send that has waited in vain is put back, and comes again after this. */
const RETRY_MS = 5_000;
/** Known file_ids kept in memory; a read each saved. */
const MAX_KNOWN = 10_000;

export class Attachments {
  readonly #options: AttachmentsOptions;
  readonly #known = new Map<string, string>();

  constructor(options: AttachmentsOptions) {
    this.#options = options;
  }

  /** Sends with the body's media. What it throws comes before a request was written, or after its outcome was known. */
  async attach(send: ClaimedSend, deliver: Deliver): Promise<Outcome> {
    const first = await this.#attempt(send, deliver);
    return first.again ? (await this.#attempt(send, deliver)).outcome : first.outcome;
  }

  /** One request. `again` says that the file_id which it used is no more, and the file may be sent another way. */
  async #attempt(send: ClaimedSend, deliver: Deliver): Promise<{ outcome: Outcome; again?: boolean }> {
    const file = { botId: send.botId, ref: send.body.media };
    const owner = randomUUID();
    const found = await this.#find(file, owner);
    if (found === "late") {
      return { outcome: { outcome: "postponed", reason: SendReason.media, retryAfterMs: RETRY_MS } };
    }
    if (found === "upload") return { outcome: await this.#upload(file, owner, deliver) };
    const outcome = await deliver({ fileId: found.fileId });
    if (!mayBeTheFile(outcome)) return { outcome };
    return { outcome, again: await this.#forget({ ...file, fileId: found.fileId }) };
  }

  /** What the Bot API said of the send is known, and must not be lost to this. */
  async #forget(file: BotFile & { fileId: string }): Promise<boolean> {
    try {
      const forgotten = await forgetFile(this.#options.sql, file);
      if (forgotten !== "kept") this.#known.delete(keyOf(file));
      return forgotten !== "kept";
    } catch {
      return false;
    }
  }

  /** A file_id, or the turn to upload; waits for somebody else's upload as long as a send may still follow. */
  async #find(file: BotFile, owner: string): Promise<{ fileId: string } | "upload" | "late"> {
    const { sql, clock, uploadTimeoutMs, timeoutMs } = this.#options;
    const known = this.#known.get(keyOf(file));
    if (known !== undefined) return { fileId: known };
    const leaseMs = uploadTimeoutMs + LEASE_MARGIN_MS;
    const deadline = clock.monotonicMs() + uploadTimeoutMs - timeoutMs;
    for (;;) {
      const claim = await claimFile(sql, { ...file, owner, leaseMs });
      if ("fileId" in claim) return this.#remember(file, claim.fileId);
      if ("upload" in claim) return "upload";
      if (clock.monotonicMs() >= deadline) return "late";
      await clock.sleep(POLL_MS);
    }
  }

  async #upload(file: BotFile, owner: string, deliver: Deliver): Promise<Outcome> {
    const { sql } = this.#options;
    let outcome: Outcome | undefined;
    try {
      const { fileName, mimeType, size } = await openMedia(sql, file.ref);
      outcome = await deliver({ fileName, mimeType, size, open: () => readMedia(sql, file.ref) });
      return outcome;
    } finally {
      await this.#finishUpload(file, owner, outcome).catch(() => {
        // The lease lapses by itself; what became of the send is known and must not be lost to this.
      });
    }
  }

  async #finishUpload(file: BotFile, owner: string, outcome: Outcome | undefined): Promise<void> {
    const fileId = outcome?.outcome === "sent" ? outcome.fileId : undefined;
    if (fileId === undefined) return await releaseFile(this.#options.sql, { ...file, owner });
    if (await storeFile(this.#options.sql, { ...file, owner, fileId })) this.#remember(file, fileId);
  }

  #remember(file: BotFile, fileId: string): { fileId: string } {
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(keyOf(file), fileId);
    return { fileId };
  }
}

/**
 * A file_id may stop working in words that nobody has published, so whatever is no lead's fault may be the file's. Telegram
 * refuses what a message says with 400.
 */
function mayBeTheFile(outcome: Outcome): boolean {
  return (outcome.outcome === "body" || outcome.outcome === "unlisted") && outcome.code === 400;
}

interface BotFile {
  botId: number;
  ref: string;
}

function keyOf({ botId, ref }: BotFile): string {
  return `${botId}:${ref}`;
}
