/** How REST and the RPCs write the same things: numbers for enums, a bitmask for a set, unix seconds for moments. */
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { BroadcastState } from "#gen/leadcast/broadcast/v1/broadcast_pb.ts";
import { WaitReason } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { LeadStatus } from "#gen/leadcast/campaign/v1/lead_pb.ts";

/** Statuses in the order of their bits: wait is bit 0, trash is bit 4. */
const statusesByBit = [
  LeadStatus.WAIT,
  LeadStatus.HOLD,
  LeadStatus.APPROVE,
  LeadStatus.CANCEL,
  LeadStatus.TRASH,
] as const;

/** The highest bitmask: all five statuses. */
export const allStatuses = (1 << statusesByBit.length) - 1;

/** A lead status from 0 to 4. */
export function leadStatusFromRest(status: number): LeadStatus {
  return statusesByBit[status] ?? LeadStatus.UNSPECIFIED;
}

export function leadStatusToRest(status: LeadStatus): number {
  return zeroBased(status);
}

/** A broadcast's status from 0 (draft) to 4 (paused). */
export function broadcastStateToRest(state: BroadcastState): number {
  return zeroBased(state);
}

/** Our enums count from 1 because 0 is "unspecified" there; REST counts from 0. */
function zeroBased(value: LeadStatus | BroadcastState): number {
  if (value < 1) throw new Error("a service left out a state that every reply must have");
  return value - 1;
}

export function statusesFromBitmask(bitmask: number): LeadStatus[] {
  return statusesByBit.filter((_status, bit) => (bitmask & (1 << bit)) !== 0);
}

export function bitmaskFromStatuses(statuses: readonly LeadStatus[]): number {
  return statuses.reduce((bitmask, status) => bitmask | (1 << zeroBased(status)), 0);
}

/** 0 is unset, which is an absent timestamp. */
export function timestampFromUnix(seconds: number): { seconds: bigint } | undefined {
  return seconds === 0 ? undefined : { seconds: BigInt(seconds) };
}

/** Whole seconds; 0 where the timestamp is absent. */
export function unixFromTimestamp(time: Timestamp | undefined): number {
  return Number(time?.seconds ?? 0n);
}

/** What queued messages wait for, in a word. */
export const waitReasonWords: Readonly<Record<WaitReason, string>> = {
  [WaitReason.UNSPECIFIED]: "none",
  [WaitReason.PAUSED]: "paused",
  [WaitReason.QUOTA]: "quota",
  [WaitReason.ENTITLEMENT]: "entitlement",
  [WaitReason.BOT]: "bot",
};
