/**
 * For how much of its time a lane that has queued rows has nothing to send: no job of it is in delivery, from being pulled
 * to being acked. Counted between a lane's first job and its last one, for until then a row was queued: the last.
 */
import { Worker } from "#services/delivery/worker.ts";

interface Lane {
  outstanding: number;
  firstMs: number;
  lastMs: number;
  /** When it last ran dry; undefined while it has something. */
  drySinceMs: number | undefined;
  dryMs: number;
}

/** Watches every lane of this process's worker from now on. */
export function watchLanes(): { take(): number } {
  const lanes = new Map<number, Lane>();
  const { offer } = Worker.prototype;
  Worker.prototype.offer = function (job, ack) {
    const lane = enter(lanes, job.botId, performance.now());
    offer.call(this, job, () => {
      leave(lane, performance.now());
      ack();
    });
  };
  return {
    /** Share of the time since the last call, over all lanes. */
    take: () => {
      const all = [...lanes.values()];
      lanes.clear();
      const spanMs = all.reduce((sum, lane) => sum + lane.lastMs - lane.firstMs, 0);
      return spanMs === 0 ? 0 : all.reduce((sum, lane) => sum + lane.dryMs, 0) / spanMs;
    },
  };
}

function enter(lanes: Map<number, Lane>, botId: number, nowMs: number): Lane {
  let lane = lanes.get(botId);
  if (!lane) {
    lane = { outstanding: 0, firstMs: nowMs, lastMs: nowMs, drySinceMs: undefined, dryMs: 0 };
    lanes.set(botId, lane);
  }
  if (lane.drySinceMs !== undefined) lane.dryMs += nowMs - lane.drySinceMs;
  lane.drySinceMs = undefined;
  lane.outstanding++;
  lane.lastMs = nowMs;
  return lane;
}

function leave(lane: Lane, nowMs: number): void {
  lane.outstanding--;
  if (lane.outstanding === 0) lane.drySinceMs = nowMs;
}
