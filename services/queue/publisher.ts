import type { JetStreamClient, NatsConnection } from "nats";
import type { SendJob } from "#services/ledger/claim.ts";
import { shardOf } from "#services/ledger/send.ts";
import { killPoint } from "#services/platform/kill-points.ts";
import { encodeJob } from "./jobs.ts";
import { sendSubject } from "./subjects.ts";

/** Publishes waiting for their acks at once: where a bare publisher reaches its best rate. */
const IN_FLIGHT = 1024;

/** An ack that does not come within this counts as a failed publish; the relay says it again. */
const ACK_TIMEOUT_MS = 5_000;

export interface PublishOutcome {
  published: SendJob[];
  failed: SendJob[];
  /** The first failure, for the log. */
  error?: unknown;
}

/** Publishes jobs in order, many at once. Never throws: what was not acknowledged is among `failed`. */
export async function publishJobs(nc: NatsConnection, jobs: readonly SendJob[]): Promise<PublishOutcome> {
  const js = nc.jetstream();
  const outcome: PublishOutcome = { published: [], failed: [] };
  for (let from = 0; from < jobs.length; from += IN_FLIGHT) {
    await Promise.all(jobs.slice(from, from + IN_FLIGHT).map((job) => publishJob(js, job, outcome)));
    if (outcome.failed.length > 0) {
      outcome.failed.push(...jobs.slice(from + IN_FLIGHT));
      break;
    }
  }
  return outcome;
}

async function publishJob(js: JetStreamClient, job: SendJob, outcome: PublishOutcome): Promise<void> {
  try {
    killPoint("publish.before");
    await js.publish(sendSubject(shardOf(job.botId), job.kind), encodeJob(job), { timeout: ACK_TIMEOUT_MS });
    killPoint("publish.after");
    outcome.published.push(job);
  } catch (error) {
    outcome.failed.push(job);
    outcome.error ??= error;
  }
}
