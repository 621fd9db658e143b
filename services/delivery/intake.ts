/**
 * Pulls from JetStream: one loop per shard and kind while the shard is ours. Whatever goes wrong there (a server that
 * restarts, a stream or consumer that is gone, a pull that never ends) is answered by making sure that stream and consumer
 * exist and pulling again: nothing in the stream is needed for the truth.
 */
import type { ConsumerMessages, JetStreamManager, NatsConnection } from "nats";
import type { SendJob } from "#services/ledger/claim.ts";
import { SendKind } from "#services/ledger/send.ts";
import type { Clock } from "#services/platform/clock.ts";
import { killPoint } from "#services/platform/kill-points.ts";
import { decodeJob } from "#services/queue/jobs.ts";
import { ensureConsumer, ensureStream, type StreamOptions } from "#services/queue/streams.ts";
import { consumerName, STREAM } from "#services/queue/subjects.ts";

export interface IntakeOptions {
  nc: NatsConnection;
  jsm: JetStreamManager;
  stream: StreamOptions;
  clock: Clock;
  offer: (job: SendJob, ack: () => void) => void;
  /** Jobs that wait in memory: pulling pauses above `maxQueued`. */
  queuedCount: () => number;
  maxQueued?: number;
  onError: (error: unknown) => void;
}

/** Messages a pull, and how long it may stay open. */
const PULL_MESSAGES = 500;
const PULL_EXPIRES_MS = 5_000;
const RETRY_MS = 250;
const FULL_MS = 20;

const KINDS = [SendKind.followUp, SendKind.broadcast] as const;

export class Intake {
  readonly #options: IntakeOptions;
  readonly #shards = new Map<number, { stop: AbortController; done: Promise<unknown> }>();

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  /** Pulls for these shards from now on. */
  open(shards: number[]): void {
    for (const shard of shards) {
      if (this.#shards.has(shard)) continue;
      const stop = new AbortController();
      const done = Promise.all(KINDS.map((kind) => this.#pullAll(shard, kind, stop.signal)));
      this.#shards.set(shard, { stop, done });
    }
  }

  /** Pulls no more for these shards; resolves when nothing more is offered. */
  async close(shards: number[]): Promise<void> {
    const closing = shards.flatMap((shard) => this.#shards.get(shard) ?? []);
    for (const shard of shards) this.#shards.delete(shard);
    for (const { stop } of closing) stop.abort();
    await Promise.all(closing.map(({ done }) => done));
  }

  async closeAll(): Promise<void> {
    await this.close([...this.#shards.keys()]);
  }

  async #pullAll(shard: number, kind: SendKind, signal: AbortSignal): Promise<void> {
    const { clock, onError, queuedCount, maxQueued = 50_000 } = this.#options;
    while (!signal.aborted) {
      if (queuedCount() > maxQueued) await clock.sleep(FULL_MS, signal);
      else
        await this.#pull(shard, kind, signal).catch(async (error) => {
          if (signal.aborted) return;
          onError(error);
          await this.#repair(shard, kind).catch(() => {});
          await clock.sleep(RETRY_MS, signal);
        });
    }
  }

  async #pull(shard: number, kind: SendKind, signal: AbortSignal): Promise<void> {
    const { nc, offer } = this.#options;
    const consumer = await nc.jetstream().consumers.get(STREAM, consumerName(shard, kind));
    const messages = await consumer.fetch({ max_messages: PULL_MESSAGES, expires: PULL_EXPIRES_MS });
    const abort = () => stopPull(messages);
    signal.addEventListener("abort", abort, { once: true });
    try {
      for await (const message of messages) {
        const job = decodeJob(message.data);
        killPoint("intake.before-offer");
        if (job) offer(job, () => message.ack());
        else message.term();
      }
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  async #repair(shard: number, kind: SendKind): Promise<void> {
    const { jsm, stream } = this.#options;
    await ensureStream(jsm, stream);
    await ensureConsumer(jsm, shard, kind);
  }
}

function stopPull(messages: ConsumerMessages): void {
  messages.stop();
}
