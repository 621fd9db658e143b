/** Protobuf to domain and back. */
import { create } from "@bufbuild/protobuf";
import { type Timestamp, timestampFromDate } from "@bufbuild/protobuf/wkt";
import {
  type Audience as AudienceMessage,
  type Broadcast,
  BroadcastSchema,
  type Counters,
  CountersSchema,
} from "#gen/leadcast/broadcast/v1/broadcast_pb.ts";
import type { MessageBody as BodyMessage } from "#gen/leadcast/campaign/v1/body_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";
import { emptyBody, type MessageBody } from "#services/core/message/body.ts";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";
import { dateFromTimestamp } from "#services/platform/rpc/time.ts";
import { type Audience, statusesOfMask } from "./audience.ts";
import type { BroadcastState } from "./broadcast.ts";
import type { BroadcastView, LeadCounters, ListedBroadcast } from "./view.ts";

/** Enums of the protobuf count from 1 where the stored numbers count from 0. */
const ENUM_OFFSET = 1;

export function stateToMessage(state: BroadcastState): number {
  return state + ENUM_OFFSET;
}

export function audienceFromMessage(message: AudienceMessage | undefined): Audience {
  return {
    statuses: (message?.statuses ?? []).reduce((mask, status) => mask | bitOfStatus(status), 0),
    campaignIds: (message?.campaignIds ?? []).map(idFromMessage),
    createdFrom: boundFromMessage(message?.createdFromTime, "audience.created_from_time"),
    createdTo: boundFromMessage(message?.createdToTime, "audience.created_to_time"),
    statusFrom: boundFromMessage(message?.statusFromTime, "audience.status_from_time"),
    statusTo: boundFromMessage(message?.statusToTime, "audience.status_to_time"),
  };
}

function bitOfStatus(status: LeadStatus): number {
  if (status >= LeadStatus.WAIT && status <= LeadStatus.TRASH) return 1 << (status - ENUM_OFFSET);
  throw new DomainError(ErrorReason.INVALID_ARGUMENT, "statuses must be known lead statuses.", { field: "statuses" });
}

function idFromMessage(id: bigint): number {
  if (id > 0n && id <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(id);
  throw new DomainError(ErrorReason.INVALID_ARGUMENT, "campaigns must be campaign ids.", { field: "campaigns" });
}

/**
 * A bound of a filter. REST writes "no bound" as 0, so a bound in the first second of 1970 would be lost on the way through
 * it: what matches nobody would come back as what matches everybody.
 */
function boundFromMessage(time: Timestamp | undefined, field: string): Date | null {
  if (time === undefined) return null;
  if (time.seconds > 0n) return dateFromTimestamp(time, field);
  const problem = "must be later than the first second of 1970; leave it out for no bound";
  throw new DomainError(ErrorReason.INVALID_ARGUMENT, `${field}: ${problem}`, { field });
}

export function bodyFromMessage(message: BodyMessage | undefined): MessageBody {
  if (!message) return emptyBody;
  const { text, media, mediaType, button, link } = message;
  return { text, media, mediaType: mediaType as MessageBody["mediaType"], button, link };
}

export function countersToMessage(counters: LeadCounters): Counters {
  return create(CountersSchema, {
    queued: BigInt(counters.queued),
    sent: BigInt(counters.sent),
    failed: BigInt(counters.failed),
    unconfirmed: BigInt(counters.unconfirmed),
    dropped: BigInt(counters.dropped),
  });
}

export function broadcastToMessage(view: BroadcastView): Broadcast {
  const { text, media, mediaType, button, link } = view;
  const body = { text, media, mediaType: mediaType as number, button, link };
  return create(BroadcastSchema, { ...fieldsOf(view), body, remaining: BigInt(view.remaining) });
}

export function listedToMessage(listed: ListedBroadcast): Broadcast {
  return create(BroadcastSchema, fieldsOf(listed));
}

function fieldsOf(view: ListedBroadcast) {
  return {
    id: BigInt(view.id),
    name: view.name,
    state: stateToMessage(view.state),
    audience: {
      statuses: statusesOfMask(view.statuses).map((status) => status + ENUM_OFFSET),
      campaignIds: view.campaignIds.map(BigInt),
      createdFromTime: dateToMessage(view.createdFrom),
      createdToTime: dateToMessage(view.createdTo),
      statusFromTime: dateToMessage(view.statusFrom),
      statusToTime: dateToMessage(view.statusTo),
    },
    counters: countersToMessage(view.counters),
    total: BigInt(view.total),
    startTime: dateToMessage(view.startedAt),
    createTime: dateToMessage(view.createdAt),
    pauseReason: view.pauseReason,
  };
}

function dateToMessage(date: Date | null): Timestamp | undefined {
  return date ? timestampFromDate(date) : undefined;
}
