import type { JetStreamClient, NatsConnection } from "nats";
import type { SendJob } from "#services/core/ledger/claim.ts";
import { shardOf } from "#services/core/ledger/send.ts";
import { killPoint } from "#services/platform/kill-points.ts";
import { encodeJob } from "./jobs.ts";
import { sendSubject } from "./subjects.ts";

/** Messages waiting for an ack at once: where a bare publisher reaches its best rate. */
const IN_FLIGHT = 1024;

/**
 * One ack for so many messages: the server stores a connection's messages in the order in which it got them, so the last
 * one's ack speaks for all. Should one be lost all the same, the relay finds it unclaimed and says it again.
 */
const PER_ACK = 32;

/** An ack that does not come within this counts as failed publishes; the relay says them again. */
const ACK_TIMEOUT_MS = 5_000;

export interface PublishOutcome {
  published: SendJob[];
  failed: SendJob[];
  /** The first failure, for the log. */
  error?: unknown;
}

/**
 * Publishes jobs, many at once; those of one bot and kind keep their order. Never throws: what was not acknowledged is
 * among `failed`.
 */
export async function publishJobs(nc: NatsConnection, jobs: readonly SendJob[]): Promise<PublishOutcome> {
  const js = nc.jetstream();
  const outcome: PublishOutcome = { published: [], failed: [] };
  for (let from = 0; from < jobs.length; from += IN_FLIGHT) {
    const groups = groupsOf(bySubject(jobs.slice(from, from + IN_FLIGHT)));
    await Promise.all(groups.map((group) => publishGroup(nc, js, group, outcome)));
    if (outcome.failed.length > 0) {
      outcome.failed.push(...jobs.slice(from + IN_FLIGHT));
      break;
    }
  }
  return outcome;
}

/**
 * Messages of one subject behind one another: the server wakes that subject's consumer once for all of them, and finds its
 * next message beside the last one. Over 64 subjects in turn a message costs it a quarter more.
 */
function bySubject(jobs: readonly SendJob[]): SendJob[] {
  return [...Map.groupBy(jobs, subjectOf).values()].flat();
}

function groupsOf(jobs: readonly SendJob[]): SendJob[][] {
  return Array.from({ length: Math.ceil(jobs.length / PER_ACK) }, (_, i) => jobs.slice(i * PER_ACK, (i + 1) * PER_ACK));
}

/** Written at once, so that nothing comes between the group and its ack. */
async function publishGroup(
  nc: NatsConnection,
  js: JetStreamClient,
  group: readonly SendJob[],
  outcome: PublishOutcome,
): Promise<void> {
  try {
    killPoint("publish.before");
    for (const job of group.slice(0, -1)) nc.publish(subjectOf(job), encodeJob(job));
    const last = group.at(-1)!;
    await js.publish(subjectOf(last), encodeJob(last), { timeout: ACK_TIMEOUT_MS });
    killPoint("publish.after");
    outcome.published.push(...group);
  } catch (error) {
    outcome.failed.push(...group);
    outcome.error ??= error;
  }
}

function subjectOf(job: SendJob): string {
  return sendSubject(shardOf(job.botId), job.kind);
}
