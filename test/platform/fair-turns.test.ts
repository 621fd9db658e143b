import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { FairTurns, type FairTurnsOptions } from "#services/platform/fair-turns.ts";
import { eventually } from "#test/support/eventually.ts";
import { reasonOf } from "#test/support/rpc-failure.ts";

const wide = { maxRunning: 100, maxRunningPerKey: 100, maxWaitingPerKey: 100, maxWaiting: 100, maxWaitMs: 60_000 };

function setup(options: Partial<FairTurnsOptions>) {
  const turns = new FairTurns({ ...wide, refusal: "too many", ...options });
  const started: string[] = [];
  const gates = new Map<string, PromiseWithResolvers<string>>();
  /** A work is called by its key and a number: `a1`. */
  const take = (name: string, signal?: AbortSignal) =>
    turns.take(
      name[0]!,
      () => {
        started.push(name);
        const gate = Promise.withResolvers<string>();
        gates.set(name, gate);
        return gate.promise;
      },
      signal,
    );
  const end = (name: string) => gates.get(name)!.resolve(name);
  const fail = (name: string) => gates.get(name)!.reject(new Error(name));
  return { turns, take, started, end, fail };
}

/** Everything that follows from what has been settled has happened by then. */
const settled = () => Bun.sleep(0);

describe("FairTurns", () => {
  test("begin at once while there is room, and then in the order in which they came", async () => {
    const { take, started, end } = setup({ maxRunning: 2 });
    const works = ["a1", "a2", "a3", "a4"].map((name) => take(name));
    await settled();
    expect(started).toEqual(["a1", "a2"]);
    for (const name of ["a2", "a1", "a3", "a4"]) {
      end(name);
      await settled();
    }
    expect(started).toEqual(["a1", "a2", "a3", "a4"]);
    expect(await Promise.all(works)).toEqual(["a1", "a2", "a3", "a4"]);
  });

  test("leave room for others beside a key that asks for everything", async () => {
    const { take, started } = setup({ maxRunning: 3, maxRunningPerKey: 2 });
    for (const name of ["a1", "a2", "a3", "a4"]) void take(name);
    void take("b1");
    await settled();
    expect(started).toEqual(["a1", "a2", "b1"]);
  });

  test("leave everything to who is alone, and less as soon as another one is there", async () => {
    const { take, started, end } = setup({ maxRunning: 10, maxRunningPerKey: 4, maxBesideOthers: 2 });
    for (const name of ["a1", "a2", "a3", "a4", "a5", "a6"]) void take(name);
    void take("b1");
    await settled();
    expect(started).toEqual(["a1", "a2", "a3", "a4", "b1"]);
    for (const name of ["a1", "a2"]) end(name);
    await settled();
    expect(started).toHaveLength(5);
    end("a3");
    await settled();
    expect(started.at(-1)).toBe("a5");
  });

  test("give everything back when the other one has been away for a second", async () => {
    const { take, started, end } = setup({ maxRunning: 10, maxRunningPerKey: 2, maxBesideOthers: 1 });
    const work = [take("b1"), take("a1")];
    await settled();
    for (const name of ["b1", "a1"]) end(name);
    await Promise.all(work);
    let n = 1;
    await eventually(async () => {
      const names = [`a${++n}`, `a${++n}`];
      const takes = names.map((name) => take(name));
      await settled();
      const both = names.every((name) => started.includes(name));
      for (const name of names) {
        if (started.includes(name)) end(name);
        await settled();
      }
      for (const name of names) end(name);
      await Promise.all(takes);
      return both;
    });
  });

  test("give a free turn to who has the fewest, before another one's next", async () => {
    const { take, started, end } = setup({ maxRunning: 2 });
    for (const name of ["a1", "a2", "a3", "a4", "b1", "c1"]) void take(name);
    await settled();
    end("a1");
    await settled();
    expect(started.at(-1)).toBe("b1");
    end("a2");
    await settled();
    expect(started.at(-1)).toBe("c1");
    end("b1");
    await settled();
    expect(started.at(-1)).toBe("a3");
  });

  test("refuse who waits for too much, and nobody else", async () => {
    const { take } = setup({ maxRunning: 1, maxWaitingPerKey: 1 });
    void take("a1");
    const waiting = take("a2");
    expect(await reasonOf(take("a3"))).toBe("RATE_LIMITED");
    const other = take("b1");
    expect(await Promise.race([waiting, other, settled().then(() => "both wait")])).toBe("both wait");
  });

  test("refuse everybody above what may wait in all, and say when to come again", async () => {
    const { take } = setup({ maxRunning: 1, maxWaiting: 2 });
    for (const name of ["a1", "b1", "c1"]) void take(name);
    const refusal = await take("d1").catch((error: unknown) => error);
    expect(refusal).toMatchObject({ message: "too many", retryAfterSeconds: 1 });
  });

  test("refuse who has waited too long, and take the next ones as before", async () => {
    const { take, started, end } = setup({ maxRunning: 1, maxWaitMs: 20 });
    void take("a1");
    expect(await reasonOf(take("a2"))).toBe("RATE_LIMITED");
    void take("b1");
    end("a1");
    await settled();
    expect(started).toEqual(["a1", "b1"]);
  });

  test("forget who has gone while waiting, and never begin its work", async () => {
    const { take, started, end, turns } = setup({ maxRunning: 1 });
    const caller = new AbortController();
    const first = take("a1");
    const gone = take("b1", caller.signal);
    caller.abort(new Error("gone"));
    // In the same breath, before anything that waits for the one can see the other.
    end("a1");
    await expect(gone).rejects.toThrow("gone");
    await first;
    expect(started).toEqual(["a1"]);
    expect(turns.size).toBe(0);
  });

  test("do not begin for a caller that has gone before", async () => {
    const { take, started, turns } = setup({});
    await expect(take("a1", AbortSignal.abort(new Error("gone")))).rejects.toThrow("gone");
    expect([started, turns.size]).toEqual([[], 0]);
  });

  test("go on when a work fails, and give its error to who asked for it", async () => {
    const { take, fail, end } = setup({ maxRunning: 1 });
    const works = [take("a1"), take("a2")];
    await settled();
    fail("a1");
    await expect(works[0]!).rejects.toThrow("a1");
    await settled();
    end("a2");
    expect(await works[1]!).toBe("a2");
  });
});

/** What a client may do at any moment. */
type Step = { do: "take" | "abort" | "end" | "fail"; key: string; pick: number };

const step: fc.Arbitrary<Step> = fc.record({
  do: fc.constantFrom("take", "take", "abort", "end", "end", "fail"),
  key: fc.constantFrom("a", "b", "c", "d"),
  pick: fc.nat(1_000),
});

test("whatever is taken, ended, failed and abandoned: bounds hold, nothing idles, nothing is kept", async () => {
  const bounds = fc.record({
    maxRunning: fc.integer({ min: 1, max: 5 }),
    maxRunningPerKey: fc.integer({ min: 1, max: 3 }),
    maxWaitingPerKey: fc.nat(4),
    maxWaiting: fc.nat(8),
  });
  await fc.assert(
    fc.asyncProperty(bounds, fc.array(step, { maxLength: 60 }), async (options, steps) => {
      const turns = new FairTurns({ ...wide, refusal: "", ...options });
      const running = new Map<string, PromiseWithResolvers<void>[]>();
      const waiting = new Map<string, AbortController[]>();
      const of = <T>(map: Map<string, T[]>, key: string) => map.get(key) ?? map.set(key, []).get(key)!;
      const all = <T>(map: Map<string, T[]>) => [...map.values()].flat().length;
      const takes: Promise<unknown>[] = [];
      const act = ({ do: what, key, pick }: Step) => {
        if (what === "take") {
          const caller = new AbortController();
          of(waiting, key).push(caller);
          const leave = () =>
            void waiting.set(
              key,
              of(waiting, key).filter((one) => one !== caller),
            );
          const work = () => {
            leave();
            const gate = Promise.withResolvers<void>();
            of(running, key).push(gate);
            return gate.promise;
          };
          takes.push(turns.take(key, work, caller.signal).catch(leave));
        } else if (what === "abort") of(waiting, key)[pick % of(waiting, key).length]?.abort(new Error("gone"));
        else {
          const [gate] = of(running, key).splice(pick % Math.max(1, of(running, key).length), 1);
          if (what === "end") gate?.resolve();
          else gate?.reject(new Error("failed"));
        }
      };
      for (const [index, one] of steps.entries()) {
        act(one);
        // Some steps come in one breath.
        if (index % 3 === 0) continue;
        await settled();
        expect(all(running)).toBeLessThanOrEqual(options.maxRunning);
        for (const [key, works] of running) {
          expect(works.length).toBeLessThanOrEqual(options.maxRunningPerKey);
          const mayRun = all(running) < options.maxRunning && works.length < options.maxRunningPerKey;
          if (mayRun) expect(of(waiting, key)).toEqual([]);
        }
      }
      while (all(running) + all(waiting) > 0) {
        for (const works of running.values()) for (const gate of works.splice(0)) gate.resolve();
        await settled();
      }
      await Promise.all(takes);
      expect(turns.size).toBe(0);
    }),
    { numRuns: 60 },
  );
});
