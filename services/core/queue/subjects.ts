/** Names on NATS. The version is that of the payload, leadcast.delivery.v1: another version gets other subjects. */
import { SendKind } from "#services/core/ledger/send.ts";

export const STREAM = "LEADCAST_SENDS_V1";

const KIND_TOKENS: Record<SendKind, string> = { [SendKind.broadcast]: "broadcast", [SendKind.followUp]: "follow_up" };

/** Everything that the stream stores. */
export const SEND_SUBJECTS = "leadcast.send.v1.*.*";

/** One subject, and so one consumer, per shard and kind: a backlog of broadcasts never stands before a follow-up. */
export function sendSubject(shard: number, kind: SendKind): string {
  return `leadcast.send.v1.${shard}.${KIND_TOKENS[kind]}`;
}

export function consumerName(shard: number, kind: SendKind): string {
  return `shard_${shard}_${KIND_TOKENS[kind]}`;
}

/** Core NATS, not stored: hints from delivery to the relay that owns the shard. */
export function unsentSubject(shard: number): string {
  return `leadcast.unsent.v1.${shard}`;
}

export const UNSENT_SUBJECTS = "leadcast.unsent.v1.*";
