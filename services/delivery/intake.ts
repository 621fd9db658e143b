/**
 * Pulls from JetStream: one loop per shard and kind while the shard is ours. Whatever goes wrong there (a server that
 * restarts, a stream or consumer that is gone, one that has messages and delivers none) is answered by making sure that
 * stream and consumer exist and pulling again: nothing in the stream is needed for the truth.
 */
import type { Consumer, ConsumerMessages, JetStreamManager, JsMsg, Msg, NatsConnection } from "nats";
import type { SendJob } from "#services/core/ledger/claim.ts";
import { SendKind } from "#services/core/ledger/send.ts";
import { decodeJob } from "#services/core/queue/jobs.ts";
import { encodeLowLanes, LOW_LANES_SUBJECT } from "#services/core/queue/low-lanes.ts";
import { ensureConsumer, ensureStream, type StreamOptions } from "#services/core/queue/streams.ts";
import { consumerName, STREAM } from "#services/core/queue/subjects.ts";
import type { Clock } from "#services/platform/clock.ts";
import { killPoint } from "#services/platform/kill-points.ts";
import { LowWatch } from "./low-watch.ts";

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

const ACK = "+ACK";

/** Messages a pull. */
const PULL_MESSAGES = 500;
const PULL_EXPIRES_MS = 5_000;
const RETRY_MS = 250;
const FULL_MS = 20;

const KINDS = [SendKind.followUp, SendKind.broadcast] as const;

/** The shortest pull that JetStream's client makes. */
const SHORTEST_PULL_MS = 1_000;

/** One shard's consumer of one kind. */
interface Line {
  shard: number;
  kind: SendKind;
  signal: AbortSignal;
  /** Asked for once, and anew after anything went wrong. */
  consumer?: Consumer;
  /** The last pull brought nothing, and messages waited when it had ended. */
  suspect?: boolean;
}

export class Intake {
  readonly #options: IntakeOptions;
  readonly #shards = new Map<number, { stop: AbortController; done: Promise<unknown> }>();
  readonly #acks: Acks;
  readonly #low: LowWatch;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#acks = new Acks(options.nc, options.onError);
    this.#low = new LowWatch((lanes) => {
      orReport(() => options.nc.publish(LOW_LANES_SUBJECT, encodeLowLanes(lanes)), options.onError);
    });
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
        line.consumer = undefined;
        line.suspect = false;
        onError(error);
        await untilAborted(this.#repair(line), signal).catch(() => {});
        await clock.sleep(RETRY_MS, signal);
      });
    }
  }

  async #pull(line: Line): Promise<void> {
    const { nc, jsm, pullExpiresMs = PULL_EXPIRES_MS } = this.#options;
    const { shard, kind, signal } = line;
    const name = consumerName(shard, kind);
    line.consumer ??= await untilAborted(nc.jetstream().consumers.get(STREAM, name), signal);
    const expires = line.suspect ? SHORTEST_PULL_MS : pullExpiresMs;
    const taken = await this.#offerAll(line.consumer.fetch({ max_messages: PULL_MESSAGES, expires }), line);
    if (signal.aborted || !(await this.#isStalled(line, line.consumer, taken))) return;
    await jsm.consumers.delete(STREAM, name);
    throw new Error(`Consumer ${name} had messages and delivered none; it is made anew.`);
  }

  /**
   * A pull that brought nothing while messages waited: after a kill of the server this can last for good. What waits when
   * a pull has ended may have just come, so a second one, a short one, decides. Asking also tells whether the consumer is
   * still there; a line that brings messages asks for nothing.
   */
  async #isStalled(line: Line, consumer: Consumer, taken: number): Promise<boolean> {
    const wasSuspect = line.suspect;
    line.suspect = taken === 0 && (await untilAborted(consumer.info(), line.signal)).num_pending > 0;
    return line.suspect && wasSuspect === true;
  }

  async #offerAll(fetching: Promise<ConsumerMessages>, line: Line): Promise<number> {
    const { signal } = line;
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
        this.#offer(message, line);
      }
    } finally {
      signal.removeEventListener("abort", stop);
      messages.stop();
    }
    return taken;
  }

  #offer(message: JsMsg, line: Line): void {
    const job = decodeJob(message.data);
    killPoint("intake.before-offer");
    if (job) this.#offerJob(job, line, replyOf(message));
    else orReport(() => message.term(), this.#options.onError);
  }

  /**
   * Tens of thousands wait for their turn: each keeps the subject of its ack, and not the message with the packet that it
   * came in. A closure keeps all that its function's closures name, so this is a function of its own.
   */
  #offerJob(job: SendJob, line: Line, reply: string): void {
    this.#low.enter(job);
    this.#options.offer(job, () => {
      this.#low.leave(job);
      this.#acks.add(line, reply);
    });
  }

  async #repair({ shard, kind }: Line): Promise<void> {
    const { jsm, stream } = this.#options;
    await ensureStream(jsm, stream);
    await ensureConsumer(jsm, shard, kind);
  }
}

/**
 * Acks that are given in one go, as they are after each settle, leave ordered by consumer: the server wakes each of them
 * once for all of its acks, which saves it a fifth of what a message costs.
 */
class Acks {
  #byLine = new Map<Line, string[]>();

  constructor(
    readonly nc: NatsConnection,
    readonly onError: (error: unknown) => void,
  ) {}

  add(line: Line, reply: string): void {
    if (this.#byLine.size === 0) queueMicrotask(() => this.#flush());
    const replies = this.#byLine.get(line);
    if (replies) replies.push(reply);
    else this.#byLine.set(line, [reply]);
  }

  #flush(): void {
    const lines = [...this.#byLine.values()];
    this.#byLine = new Map();
    for (const reply of lines.flat()) orReport(() => this.nc.publish(reply, ACK), this.onError);
  }
}

/** Where a message is acked (NATS ADR-15); the client shows it on the message that its own wraps. */
function replyOf(message: JsMsg): string {
  return (message as unknown as { msg: Msg }).msg.reply!;
}

/** A connection that is closed for good cannot ack or tell; the message comes again and is stale by then. */
function orReport(write: () => void, onError: (error: unknown) => void): void {
  try {
    write();
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
