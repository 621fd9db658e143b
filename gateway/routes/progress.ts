import { Type } from "@sinclair/typebox";
import { BroadcastState } from "#gen/leadcast/broadcast/v1/broadcast_pb.ts";
import type { Progress, Waiting } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { defineEndpoint } from "../endpoint.ts";
import { broadcastStateToRest, unixFromTimestamp, waitReasonWords } from "../rest-values.ts";
import { access, broadcastId, counterFields, listFields, tag } from "./broadcast-fields.ts";

export const getProgress = defineEndpoint({
  method: "GET",
  path: "/api/broadcast/progress.json",
  tag,
  summary: "See how far a broadcast is",
  description: "Where its leads stand, what waits for what, and how fast it goes.",
  params: { id: broadcastId },
  data: Type.Object({
    status: listFields.status,
    ...counterFields,
    unconfirmed: Type.Integer({ description: "Of failed: leads of which nobody can say whether they got it." }),
    dropped: Type.Integer({ description: "Leads that are no longer to get it." }),
    pause_reason: Type.String({ description: "Why it paused by itself; empty if it did not." }),
    waiting: Type.Array(
      Type.Object({
        reason: Type.String({ enum: Object.values(waitReasonWords), description: "What queued messages wait for." }),
        bot: Type.Integer({ description: "The bot that waits; 0 for the whole broadcast." }),
        until: Type.Integer({ description: "When they go on, in unix seconds; 0 if that is not known." }),
        message: Type.String({ description: "A sentence for people." }),
      }),
      { description: "Empty while everything flows." },
    ),
    rate: Type.Number({ description: "Messages per second over the last ten seconds." }),
    eta: Type.Union([Type.Integer(), Type.Null()], {
      description: "Seconds until the last message at this rate; 0 when done, null if it cannot be said.",
    }),
  }),
  refusals: { access },
  run: async ({ accountId, clients, options }, values) => {
    const { progress } = await clients.broadcast.getProgress({ accountId, broadcastId: values.id }, options);
    if (progress === undefined) throw new Error("GetProgress left out the progress");
    return progressToRest(progress);
  },
});

function progressToRest(progress: Progress) {
  const { counters } = progress;
  return {
    status: broadcastStateToRest(progress.state),
    sent: Number(counters?.sent ?? 0n),
    queued: Number(counters?.queued ?? 0n),
    failed: Number(counters?.failed ?? 0n),
    unconfirmed: Number(counters?.unconfirmed ?? 0n),
    dropped: Number(counters?.dropped ?? 0n),
    pause_reason: progress.pauseReason,
    waiting: progress.waiting.map(waitingToRest),
    rate: progress.ratePerSecond,
    eta: etaToRest(progress),
  };
}

function waitingToRest({ reason, botId, untilTime, message }: Waiting) {
  return { reason: waitReasonWords[reason], bot: Number(botId), until: unixFromTimestamp(untilTime), message };
}

/** Nothing is left to wait for once it is done; where the service cannot tell, neither can we. */
function etaToRest({ state, etaSeconds }: Progress): number | null {
  if (state === BroadcastState.DONE) return 0;
  return etaSeconds === undefined ? null : Number(etaSeconds);
}
