/** Jobs on the wire: the protobuf of leadcast.delivery.v1 and back. Whatever cannot be read is `undefined`, not an error. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type SendJob as SendJobMessage, SendJobSchema, UnsentSchema } from "#gen/leadcast/delivery/v1/send_job_pb.ts";
import type { SendJob } from "#services/core/ledger/claim.ts";
import { SendKind } from "#services/core/ledger/send.ts";

export function encodeJob(job: SendJob): Uint8Array {
  return toBinary(SendJobSchema, jobToMessage(job));
}

/** Undefined for junk and for ids that no row can have. */
export function decodeJob(data: Uint8Array): SendJob | undefined {
  try {
    return jobFromMessage(fromBinary(SendJobSchema, data));
  } catch {
    return undefined;
  }
}

/** Hints of one shard; at most a few hundred at once. */
export function encodeUnsent(jobs: readonly SendJob[]): Uint8Array {
  return toBinary(UnsentSchema, create(UnsentSchema, { jobs: jobs.map(jobToMessage) }));
}

export function decodeUnsent(data: Uint8Array): SendJob[] {
  try {
    return fromBinary(UnsentSchema, data).jobs.flatMap((job) => jobFromMessage(job) ?? []);
  } catch {
    return [];
  }
}

function jobToMessage(job: SendJob): SendJobMessage {
  return create(SendJobSchema, {
    kind: job.kind,
    botId: BigInt(job.botId),
    sourceId: BigInt(job.sourceId),
    leadId: BigInt(job.leadId),
    entry: job.entry,
  });
}

function jobFromMessage(message: SendJobMessage): SendJob | undefined {
  const job = {
    botId: Number(message.botId),
    sourceId: Number(message.sourceId),
    leadId: Number(message.leadId),
    entry: message.entry,
  };
  const kind = message.kind as number;
  if (kind !== SendKind.broadcast && kind !== SendKind.followUp) return undefined;
  const plausible = [job.botId, job.sourceId, job.leadId].every((id) => Number.isSafeInteger(id) && id > 0);
  return plausible && job.entry >= 0 ? { ...job, kind } : undefined;
}
