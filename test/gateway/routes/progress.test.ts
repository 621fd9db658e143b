import { describe, expect, test } from "bun:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { BroadcastState } from "#gen/leadcast/broadcast/v1/broadcast_pb.ts";
import { type GetProgressResponseSchema, WaitReason } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { envelopeOf, setup } from "../gateway-world.ts";

const at = (seconds: number) => ({ seconds: BigInt(seconds) });

describe("progress.json", () => {
  const progress: NonNullable<MessageInitShape<typeof GetProgressResponseSchema>["progress"]> = {
    state: BroadcastState.RUNNING,
    counters: { queued: 10n, sent: 20n, failed: 3n, unconfirmed: 1n, dropped: 2n },
    waiting: [
      { reason: WaitReason.QUOTA, untilTime: at(1717545600), message: "The day's cap is reached." },
      { reason: WaitReason.BOT, botId: 3n, message: "Telegram refuses the token." },
    ],
    ratePerSecond: 29.5,
    etaSeconds: 12n,
  };

  test("gives counters, what waits for what, rate and eta as numbers", async () => {
    const world = setup({ GetProgress: { progress } });
    const response = await world.get("/api/broadcast/progress.json?id=5");
    expect(await response.text()).toBe(
      JSON.stringify({
        status: "ok",
        data: {
          status: 1,
          sent: 20,
          queued: 10,
          failed: 3,
          unconfirmed: 1,
          dropped: 2,
          pause_reason: "",
          waiting: [
            { reason: "quota", bot: 0, until: 1717545600, message: "The day's cap is reached." },
            { reason: "bot", bot: 3, until: 0, message: "Telegram refuses the token." },
          ],
          rate: 29.5,
          eta: 12,
        },
      }),
    );
  });

  test.each([
    [BroadcastState.DONE, 0],
    [BroadcastState.PAUSED, null],
    [BroadcastState.RUNNING, null],
  ])("has for state %d without an estimate the eta %p", async (state, eta) => {
    const world = setup({ GetProgress: { progress: { ...progress, state, etaSeconds: undefined } } });
    expect(await envelopeOf(world.get("/api/broadcast/progress.json?id=5"))).toMatchObject({ data: { eta } });
  });
});
