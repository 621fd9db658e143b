/** Hints from delivery that lanes are half done, so that the relay need not guess when: core NATS, not stored. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { LanesLowSchema } from "#gen/leadcast/delivery/v1/lanes_low_pb.ts";
import { SendKind } from "#services/core/ledger/send.ts";

/** Every relay hears of every lane and leaves out what is not its own: one message tells of many. */
export const LOW_LANES_SUBJECT = "leadcast.low.v1";

/** One bot's messages of one kind. */
export interface LowLane {
  kind: SendKind;
  botId: number;
}

export function encodeLowLanes(lanes: readonly LowLane[]): Uint8Array {
  const message = { lanes: lanes.map(({ kind, botId }) => ({ kind, botId: BigInt(botId) })) };
  return toBinary(LanesLowSchema, create(LanesLowSchema, message));
}

/** Without what cannot be read, or names a kind that there is not. */
export function decodeLowLanes(data: Uint8Array): LowLane[] {
  try {
    return fromBinary(LanesLowSchema, data).lanes.flatMap((lane) => {
      const kind = Object.values(SendKind).find((known) => known === (lane.kind as number));
      return kind === undefined ? [] : [{ kind, botId: Number(lane.botId) }];
    });
  } catch {
    return [];
  }
}
