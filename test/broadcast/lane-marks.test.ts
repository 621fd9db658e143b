import { describe, expect, test } from "bun:test";
import { LaneMarks, REPUBLISH_AFTER_MS } from "#services/broadcast/lane-marks.ts";

describe("LaneMarks", () => {
  test("names what is sendable and not marked", () => {
    const marks = new LaneMarks<string>();
    marks.mark("a", 0);
    expect(marks.unpublished(["a", "b"], 0)).toEqual(["b"]);
  });

  test("takes a mark for lost when it is 15 s old, and not before", () => {
    const marks = new LaneMarks<string>();
    marks.mark("a", 0);
    expect(marks.unpublished(["a"], REPUBLISH_AFTER_MS - 1)).toEqual([]);
    expect(marks.unpublished(["a"], REPUBLISH_AFTER_MS)).toEqual(["a"]);
  });

  test("forgets what is not sendable any more: should it come back, it is published at once", () => {
    const marks = new LaneMarks<string>();
    marks.mark("a", 0);
    marks.unpublished([], 0);
    expect(marks.size).toBe(0);
    expect(marks.unpublished(["a"], 1)).toEqual(["a"]);
  });

  test("keeps marks that the head says nothing about", () => {
    const marks = new LaneMarks<string>();
    for (const key of ["1", "2", "3"]) marks.mark(key, 0);
    expect(marks.unpublished(["1"], 1, (key) => Number(key) > 2)).toEqual([]);
    expect(marks.unpublished(["1", "2", "3"], 2)).toEqual(["2"]);
  });

  test("forgets one that was acked unsent, or all", () => {
    const marks = new LaneMarks<string>();
    marks.mark("a", 0);
    marks.mark("b", 0);
    marks.unmark("a");
    expect(marks.unpublished(["a", "b"], 1)).toEqual(["a"]);
    marks.clear();
    expect(marks.size).toBe(0);
  });
});
