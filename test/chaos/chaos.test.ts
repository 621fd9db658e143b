import { describe, expect, test } from "bun:test";
import { type PointCase, runPoint } from "./points.ts";

/** The four moments of a send at which most is at stake, and one of the relay's, all in one system. */
const short: PointCase = {
  name: "short",
  action: "kill9",
  delivery: ["claim.after-commit", "request.before", "request.after", "settle.after-commit"],
  broadcast: ["decide.after-commit", "publish.after"],
  afterwards: "",
  freezeMs: 5_000,
};

describe("a broadcast whose processes die at their kill points", () => {
  test("messages nobody twice, forgets nobody, and knows whom it is in doubt about", async () => {
    const { figures, violations, missed } = await runPoint(short);
    expect({ violations, missed }).toEqual({ violations: [], missed: [] });
    expect(figures).toMatchObject({ messagedTwice: 0, acceptedWithoutRecord: 0, sentNotAccepted: 0 });
    expect(figures.unconfirmed).toBeGreaterThan(0);
  }, 120_000);
});
