/**
 * A broadcast's life.
 *
 * ```
 *             start (>0 queued)         pause              resume (something left)
 *   draft ─────────────────────► running ─────► paused ───────────────► running
 *     ▲                           │  │            │ └─ resume (nothing left) ► done
 *     │ reset                     │  └ finish (nothing queued or sending) ► done
 *     └──── done, cancelled ◄─────┴── cancel ─────┘       start from done, cancelled ► running
 * ```
 *
 * Each Start opens a run (`run` rises); done and cancelled close it. Reset ends the generation: the broadcast gets a new
 * ledger source and the old one's rows go in the background. Every transition is one transaction that shuts the gate
 * (services/core/ledger/gate.ts) or holds the row, and is decided inside it. Invariants:
 *
 * 1. Sends are claimed only while the state is running, for the run that is open.
 * 2. The counters' `queued` is 0 in done, cancelled and draft (sends on the wire excepted, in cancelled).
 * 3. A source belongs to one generation of one broadcast, for ever.
 */
import { BroadcastState, isOpen } from "#services/core/ledger/source.ts";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";

export { BroadcastState, isOpen };

export type Action = "start" | "pause" | "resume" | "cancel" | "reset" | "delete" | "finish";

const { draft, running, done, cancelled, paused } = BroadcastState;

/** Where each action leads, by the state it is taken in; what is not here is refused. `delete` leads nowhere. */
const TRANSITIONS: Record<Action, Partial<Record<BroadcastState, BroadcastState>>> = {
  start: { [draft]: running, [done]: running, [cancelled]: running },
  pause: { [running]: paused },
  resume: { [paused]: running },
  cancel: { [running]: cancelled, [paused]: cancelled },
  reset: { [done]: draft, [cancelled]: draft },
  delete: { [draft]: draft, [done]: done, [cancelled]: cancelled, [paused]: paused },
  finish: { [running]: done, [paused]: done },
};

const STATE_NAMES: Record<BroadcastState, string> = {
  [draft]: "a draft",
  [running]: "running",
  [done]: "done",
  [cancelled]: "cancelled",
  [paused]: "paused",
};

/** The state that an action leads to. Throws DomainError WRONG_STATE, in words for its owner. */
export function nextState(action: Action, state: BroadcastState): BroadcastState {
  const next = TRANSITIONS[action][state];
  if (next !== undefined) return next;
  throw new DomainError(
    ErrorReason.WRONG_STATE,
    `This broadcast is ${STATE_NAMES[state]}: ${action} is for one that is ${allowedStates(action)}.`,
  );
}

function allowedStates(action: Action): string {
  const states = Object.keys(TRANSITIONS[action]).map((state) => STATE_NAMES[Number(state) as BroadcastState]);
  return states.length === 1 ? states[0]! : `${states.slice(0, -1).join(", ")} or ${states.at(-1)}`;
}
