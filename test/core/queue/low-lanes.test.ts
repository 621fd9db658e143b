import { describe, expect, test } from "bun:test";
import { SendKind } from "#services/core/ledger/send.ts";
import { decodeLowLanes, encodeLowLanes } from "#services/core/queue/low-lanes.ts";

describe("a hint of low lanes", () => {
  test("arrives as it was sent", () => {
    const lanes = [
      { kind: SendKind.broadcast, botId: 1 },
      { kind: SendKind.followUp, botId: Number.MAX_SAFE_INTEGER },
    ];
    expect(decodeLowLanes(encodeLowLanes(lanes))).toEqual(lanes);
  });

  test("says nothing when it cannot be read or names no kind", () => {
    expect(decodeLowLanes(new Uint8Array())).toEqual([]);
    expect(decodeLowLanes(new TextEncoder().encode("junk"))).toEqual([]);
    expect(decodeLowLanes(encodeLowLanes([{ kind: 9 as SendKind, botId: 1 }]))).toEqual([]);
  });
});
