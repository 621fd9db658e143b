/**
 * Pulls from JetStream: one loop per shard and kind while the shard is ours. Whatever goes wrong there (a server that
 * restarts, a stream or consumer that is gone, one that has messages and delivers none) is answered by making sure that
 * stream and consumer exist and pulling again: nothing in the stream is needed for the truth.
 */
import type { Consumer, ConsumerMessages, JetStreamManager, JsMsg, NatsConnection } from "nats";
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
  /** How long one pull stays open; at least 1,000, which JetStream's client asks for. Default 5,000. */
  pullExpiresMs?: number;
  onError: (error: unknown) => void;
}

/** Messages a pull. */
const PULL_MESSAGES = 500;
const PULL_EXPIRES_MS = 5_000;
const RETRY_MS = 250;
const FULL_MS = 20;

const KINDS = [SendKind.followUp, SendKind.broadcast] as const;

/** One shard's consumer of one kind. */
interface Line {
  shard: number;
  kind: SendKind;
  signal: AbortSignal;
}

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
      const done = Promise.all(KINDS.map((kind) => this.#pullAll({ shard, kind, signal: stop.signal })));
      this.#shards.set(shard, { stop, done });
    }
  }

  /** Stops pulling for these shards; resolves when nothing more is offered, whether or not the server answers. */
  async close(shards: number[]): Promise<void> {
    const closing = shards.flatMap((shard) => this.#shards.get(shard) ?? []);
    for (const shard of shards) this.#shards.delete(shard);
    for (const { stop } of closing) stop.abort();
    await Promise.all(closing.map(({ done }) => done));
  }

  async closeAll(): Promise<void> {
    await this.close([...this.#shards.keys()]);
  }

  async #pullAll(line: Line): Promise<void> {
    const { clock, onError, queuedCount, maxQueued = 50_000 } = this.#options;
    const { signal } = line;
    while (!signal.aborted) {
      if (queuedCount() > maxQueued) {
        await clock.sleep(FULL_MS, signal);
        continue;
      }
      await this.#pull(line).catch(async (error) => {
        if (signal.aborted) return;
        onError(error);
        await untilAborted(this.#repair(line), signal).catch(() => {});
        await clock.sleep(RETRY_MS, signal);
      });
    }
  }

  async #pull({ shard, kind, signal }: Line): Promise<void> {
    const { nc, jsm, pullExpiresMs = PULL_EXPIRES_MS } = this.#options;
    const consumer = await untilAborted(nc.jetstream().consumers.get(STREAM, consumerName(shard, kind)), signal);
    const fetching = consumer.fetch({ max_messages: PULL_MESSAGES, expires: pullExpiresMs });
    const taken = await this.#offerAll(fetching, signal);
    if (taken > 0 || signal.aborted || !(await untilAborted(this.#isStalled(consumer), signal))) return;
    await jsm.consumers.delete(STREAM, consumerName(shard, kind));
    throw new Error(`Consumer ${consumerName(shard, kind)} had messages and delivered none; it is made anew.`);
  }

  async #offerAll(fetching: Promise<ConsumerMessages>, signal: AbortSignal): Promise<number> {
    const messages = await untilAborted(fetching, signal).catch((error) => {
      void fetching.then((late) => late.stop()).catch(() => {});
      throw error;
    });
    const stop = () => messages.stop();
    signal.addEventListener("abort", stop, { once: true });
    let taken = 0;
    try {
      for await (const message of messages) {
        taken++;
        this.#offer(message);
      }
    } finally {
      signal.removeEventListener("abort", stop);
      messages.stop();
    }
    return taken;
  }

  #offer(message: JsMsg): void {
    const { offer, onError } = this.#options;
    const job = decodeJob(message.data);
    killPoint("intake.before-offer");
    if (job) offer(job, () => acknowledge(() => message.ack(), onError));
    else acknowledge(() => message.term(), onError);
  }

  /** A pull that brought nothing while messages waited: after a kill of the server this can last for good. */
  async #isStalled(consumer: Consumer): Promise<boolean> {
    const before = (await consumer.info(true)).num_pending;
    return before > 0 && (await consumer.info()).num_pending > 0;
  }

  async #repair({ shard, kind }: Line): Promise<void> {
    const { jsm, stream } = this.#options;
    await ensureStream(jsm, stream);
    await ensureConsumer(jsm, shard, kind);
  }
}

/** A connection that is closed for good cannot ack; the message comes again and is stale by then. */
function acknowledge(ack: () => void, onError: (error: unknown) => void): void {
  try {
    ack();
  } catch (error) {
    onError(error);
  }
}

/** What the promise gives, or a rejection as soon as the signal aborts: a server that is away answers nothing for seconds. */
async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(new Error("Closed."));
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
