/**
 * Notices when half of what a lane had here is acked, and tells the relay, which can then fill the lane's window up at the
 * right moment: it would otherwise have to guess how fast the lane goes, and read windows that are still full or come late.
 */
import type { SendJob } from "#services/core/ledger/claim.ts";
import type { LowLane } from "#services/core/queue/low-lanes.ts";

/** Lanes that get low within this are told of together. */
const GROUP_MS = 2;

/** A lane that never had this much has nothing behind it that is worth a hint: the relay's own looks suffice. */
const MIN_HELD = 8;

interface Watched extends LowLane {
  /** Pulled and not acked. */
  held: number;
  /** The most that was held since the last hint. */
  most: number;
}

export class LowWatch {
  readonly #lanes = new Map<string, Watched>();
  #low = new Map<string, LowLane>();

  constructor(readonly tell: (lanes: LowLane[]) => void) {}

  enter(job: SendJob): void {
    const lane = this.#lanes.get(keyOf(job)) ?? this.#add(job);
    lane.held++;
    lane.most = Math.max(lane.most, lane.held);
  }

  leave(job: SendJob): void {
    const lane = this.#lanes.get(keyOf(job));
    if (!lane) return;
    lane.held--;
    if (lane.held === 0) this.#lanes.delete(keyOf(job));
    if (lane.most < MIN_HELD || lane.held * 2 > lane.most) return;
    lane.most = lane.held;
    this.#hint({ kind: lane.kind, botId: lane.botId });
  }

  #add({ kind, botId }: SendJob): Watched {
    const lane = { kind, botId, held: 0, most: 0 };
    this.#lanes.set(keyOf(lane), lane);
    return lane;
  }

  #hint(lane: LowLane): void {
    if (this.#low.size === 0) setTimeout(() => this.#tellAll(), GROUP_MS);
    this.#low.set(keyOf(lane), lane);
  }

  #tellAll(): void {
    const lanes = [...this.#low.values()];
    this.#low = new Map();
    this.tell(lanes);
  }
}

function keyOf({ kind, botId }: LowLane): string {
  return `${kind}:${botId}`;
}
