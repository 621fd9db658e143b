/**
 * The stream and its consumers. JetStream carries, and is never asked what is true: the stream may be wiped, deleted or
 * rebuilt at any moment, and the relay publishes again what is still queued. So losing a message is cheap and every bound
 * here may drop some: age, bytes, a restart.
 */
import {
  AckPolicy,
  type ConsumerConfig,
  DeliverPolicy,
  DiscardPolicy,
  type JetStreamManager,
  NatsError,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "nats";
import type { SendKind } from "#services/core/ledger/send.ts";
import { consumerName, SEND_SUBJECTS, STREAM, sendSubject } from "./subjects.ts";

const NANOS_PER_MS = 1_000_000;

/** A message older than this says nothing that the relay has not said again since. */
const MAX_AGE_MS = 120_000;

/** Some 200,000 messages, which the relay's windows keep within. */
const MAX_BYTES = 16 * 1024 * 1024;

/** Delivery acks within the lane's window of about 10 s; a message that comes a second time is stale by its claim. */
const ACK_WAIT_MS = 30_000;

/** More than any window: a bound in the broker is no back-pressure of ours. */
const MAX_ACK_PENDING = 100_000;

export interface StreamOptions {
  /** 1, or 3 on a cluster. */
  replicas: number;
}

/** JetStream's answer for what does not exist. */
const NOT_FOUND = "404";

export function streamConfig(options: StreamOptions): Partial<StreamConfig> & { name: string } {
  return {
    name: STREAM,
    subjects: [SEND_SUBJECTS],
    retention: RetentionPolicy.Workqueue,
    storage: StorageType.File,
    discard: DiscardPolicy.Old,
    max_age: MAX_AGE_MS * NANOS_PER_MS,
    max_bytes: MAX_BYTES,
    num_replicas: options.replicas,
  };
}

/** Creates the stream if it is not there, and brings an older one's bounds up to date. Safe from several processes. */
export async function ensureStream(jsm: JetStreamManager, options: StreamOptions): Promise<void> {
  const config = streamConfig(options);
  try {
    const { max_age, max_bytes, num_replicas } = config;
    const { config: found } = await jsm.streams.info(STREAM);
    const differs = found.max_age !== max_age || found.max_bytes !== max_bytes || found.num_replicas !== num_replicas;
    if (differs) await jsm.streams.update(STREAM, { max_age, max_bytes, num_replicas });
  } catch (error) {
    if (!isNotFound(error)) throw error;
    await jsm.streams.add(config);
  }
}

export function consumerConfig(shard: number, kind: SendKind): Partial<ConsumerConfig> {
  return {
    durable_name: consumerName(shard, kind),
    filter_subject: sendSubject(shard, kind),
    ack_policy: AckPolicy.Explicit,
    deliver_policy: DeliverPolicy.All,
    ack_wait: ACK_WAIT_MS * NANOS_PER_MS,
    // Attempts are counted in the ledger: a message past this number would stay in the work queue for ever.
    max_deliver: -1,
    max_ack_pending: MAX_ACK_PENDING,
  };
}

/** Creates the shard's consumer if it is not there. */
export async function ensureConsumer(jsm: JetStreamManager, shard: number, kind: SendKind): Promise<void> {
  await jsm.consumers.add(STREAM, consumerConfig(shard, kind));
}

/** Deletes the stream with all that it carries; `ensureStream` makes an empty one. */
export async function deleteStream(jsm: JetStreamManager): Promise<void> {
  try {
    await jsm.streams.delete(STREAM);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

function isNotFound(error: unknown): boolean {
  return error instanceof NatsError && (error.code === NOT_FOUND || error.api_error?.code === 404);
}
