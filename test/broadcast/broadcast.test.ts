import { describe, expect, test } from "bun:test";
import { type Action, BroadcastState, isOpen, nextState } from "#services/broadcast/broadcast.ts";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";

const { draft, running, done, cancelled, paused } = BroadcastState;
const states = [draft, running, done, cancelled, paused];

/** The contract's diagram, row by row: where each action leads from draft, running, done, cancelled, paused. */
const diagram: Record<Action, (BroadcastState | undefined)[]> = {
  start: [running, undefined, running, running, undefined],
  pause: [undefined, paused, undefined, undefined, undefined],
  resume: [undefined, undefined, undefined, undefined, running],
  cancel: [undefined, cancelled, undefined, undefined, cancelled],
  reset: [undefined, undefined, draft, draft, undefined],
  delete: [draft, undefined, done, cancelled, paused],
  finish: [undefined, done, undefined, undefined, done],
};

const pairs = Object.entries(diagram).flatMap(([action, row]) =>
  states.map((state, i) => [action as Action, state, row[i]] as const),
);

function outcomeOf(action: Action, state: BroadcastState): BroadcastState | undefined {
  try {
    return nextState(action, state);
  } catch (error) {
    expect(error).toBeInstanceOf(DomainError);
    expect((error as DomainError).reason).toBe(ErrorReason.WRONG_STATE);
    return undefined;
  }
}

describe("nextState", () => {
  test.each(pairs)("of %s from state %d is %p", (action, state, next) => {
    expect(outcomeOf(action, state)).toBe(next);
  });

  test("says in words what was in the way", () => {
    expect(() => nextState("start", running)).toThrow(
      "This broadcast is running: start is for one that is a draft, done or cancelled.",
    );
    expect(() => nextState("pause", done)).toThrow("This broadcast is done: pause is for one that is running.");
  });
});

describe("isOpen", () => {
  test("is true of running and paused", () => {
    expect(states.filter(isOpen)).toEqual([running, paused]);
  });
});
