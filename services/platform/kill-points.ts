/**
 * Places at which a process can be told to die or to freeze, so that tests can ask what that moment would have cost.
 *
 * They stand before and after everything that cannot be undone: a commit, a publish, a request to the Bot API, an ack.
 * LEADCAST_KILL_POINT=<name>:<nth>:<action> arms one of them for the life of a process: on the nth time that it is passed,
 * `kill9` ends the process as a power cut would and `stop` freezes it (SIGSTOP) until somebody sends SIGCONT. Without the
 * variable a point costs one look at a constant.
 */

export const KILL_POINTS = [
  // Delivery, in the order of one send.
  "intake.before-offer",
  "claim.before-begin",
  "claim.before-commit",
  "claim.after-commit",
  "request.before",
  "request.after",
  "settle.before-begin",
  "settle.before-commit",
  "settle.after-commit",
  "ack.before",
  "ack.after",
  "rescue.before-commit",
  "rescue.after-commit",
  // The relay.
  "publish.before",
  "publish.after",
  "mark.before",
  "mark.after",
  "review.before-commit",
  "review.after-commit",
  // Start, Pause, Resume, Cancel, Reset and Delete.
  "decide.before-commit",
  "decide.after-commit",
] as const;

export type KillPoint = (typeof KILL_POINTS)[number];

export type KillAction = "kill9" | "stop";

interface Armed {
  point: KillPoint;
  nth: number;
  action: KillAction;
}

const armed = parseArmed(process.env.LEADCAST_KILL_POINT);
let passed = 0;

/** Does nothing, unless this point is the armed one and its time has come. */
export function killPoint(point: KillPoint): void {
  if (armed !== undefined && armed.point === point && ++passed === armed.nth) {
    // Both signals act before the call returns: no statement after the point is reached.
    process.kill(process.pid, armed.action === "kill9" ? "SIGKILL" : "SIGSTOP");
  }
}

/** @throws where the variable is set and names nothing: a test that arms a point in vain would pass for no reason. */
function parseArmed(text: string | undefined): Armed | undefined {
  if (text === undefined || text === "") return undefined;
  const [name, nth, action] = text.split(":");
  const point = KILL_POINTS.find((known) => known === name);
  if (point === undefined || !/^[1-9]\d*$/.test(nth ?? "") || (action !== "kill9" && action !== "stop")) {
    throw new Error(
      "LEADCAST_KILL_POINT is <name>:<nth>:<kill9|stop>, with a name of services/platform/kill-points.ts.",
    );
  }
  return { point, nth: Number(nth), action };
}
