import { describe, expect, test } from "bun:test";
import { createTurns } from "#services/media/turns.ts";
import { reasonOf } from "#test/support/rpc-failure.ts";

function setup(maxRunning: number, maxWaiting: number) {
  const turns = createTurns({ maxRunning, maxWaiting });
  const started: string[] = [];
  const gates = new Map<string, PromiseWithResolvers<string>>();
  const take = (name: string, signal?: AbortSignal) =>
    turns.take(() => {
      started.push(name);
      const gate = Promise.withResolvers<string>();
      gates.set(name, gate);
      return gate.promise;
    }, signal);
  return {
    take,
    started,
    end: (name: string) => gates.get(name)!.resolve(name),
    fail: (name: string) => gates.get(name)!.reject(new Error(name)),
  };
}

/** Everything that follows from what has been settled has happened by then. */
const settled = () => Bun.sleep(0);

describe("turns", () => {
  test("run a few at once, and the others in the order they came", async () => {
    const { take, started, end } = setup(2, 10);
    const works = ["a", "b", "c", "d"].map((name) => take(name));
    await settled();
    expect(started).toEqual(["a", "b"]);

    end("b");
    expect(await works[1]).toBe("b");
    await settled();
    expect(started).toEqual(["a", "b", "c"]);
    end("a");
    await settled();
    for (const name of ["c", "d"]) end(name);
    expect(await Promise.all(works)).toEqual(["a", "b", "c", "d"]);
  });

  test("go on when a work fails, and give its error to who asked for it", async () => {
    const { take, started, fail, end } = setup(1, 1);
    const works = [take("a"), take("b")];
    await settled();

    fail("a");
    await expect(works[0]!).rejects.toThrow("a");
    await settled();
    end("b");
    expect(await works[1]!).toBe("b");
    expect(started).toEqual(["a", "b"]);
  });

  test("refuse who would be one too many", async () => {
    const { take, end } = setup(1, 1);
    const works = [take("a"), take("b")];

    expect(await reasonOf(take("c"))).toBe("RATE_LIMITED");

    await settled();
    end("a");
    await works[0];
    await settled();
    end("b");
    await works[1];
    const later = take("d");
    await settled();
    end("d");
    expect(await later).toBe("d");
  });

  test("are not given to who has left", async () => {
    const { take, started, end } = setup(1, 1);
    const left = new AbortController();
    const first = take("a");
    const second = take("b", left.signal);
    await settled();

    left.abort(new Error("gone"));
    end("a");

    await first;
    await expect(second).rejects.toThrow("gone");
    expect(started).toEqual(["a"]);
  });
});
