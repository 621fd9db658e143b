import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SHARD_COUNT } from "#services/core/ledger/send.ts";
import { LeaseKeeper, LeaseRole } from "#services/core/shards/leases.ts";
import { Shards } from "#services/delivery/shards.ts";
import { systemClock } from "#services/platform/clock.ts";
import { eventually } from "../support/eventually.ts";
import { createTestDatabase } from "../support/postgres.ts";

/** Something that the shards wait for, until the test says how it ends. */
interface Step {
  of: "consumers" | "close" | "drain";
  shards: number[];
  end: PromiseWithResolvers<void>;
}

/** Shards whose every step lasts until the test ends it. */
function setup() {
  const steps: Step[] = [];
  const pulled = new Set<number>();
  const log: string[] = [];
  const errors: unknown[] = [];
  const begin = (of: Step["of"], shards: number[]) => {
    const end = Promise.withResolvers<void>();
    steps.push({ of, shards, end });
    return end.promise;
  };
  const shards = new Shards({
    ensureConsumers: (shard) => begin("consumers", [shard]),
    intake: {
      open: (opened) => {
        for (const shard of opened) {
          // One that is pulled for twice would have two loops, of which a close would end one.
          if (pulled.has(shard)) throw new Error(`Shard ${shard} was opened twice.`);
          pulled.add(shard);
          log.push(`open ${shard}`);
        }
      },
      close: (closed) => {
        for (const shard of closed) pulled.delete(shard);
        log.push(`close ${closed}`);
        return begin("close", closed);
      },
    },
    worker: {
      lose: (lost) => void log.push(`lose ${lost}`),
      drain: (drained) => {
        log.push(`drain ${drained}`);
        return begin("drain", drained);
      },
    },
    onError: (error) => void errors.push(error),
  });
  const end = async (of: Step["of"], fails = false) => {
    const at = steps.findIndex((step) => step.of === of);
    const [step] = steps.splice(at, 1);
    if (fails) step!.end.reject(new Error(`${of} failed`));
    else step!.end.resolve();
    await settled();
  };
  return { shards, steps, pulled, log, errors, end };
}

/** After everything that waits for nothing else has run. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Whether a promise has ended, and how. */
function watched(promise: Promise<void>) {
  const seen = { end: "pending" };
  promise.then(
    () => (seen.end = "done"),
    () => (seen.end = "failed"),
  );
  return seen;
}

describe("a shard", () => {
  test("is pulled for once its consumers are there", async () => {
    const { shards, pulled, end } = setup();
    shards.acquired([1]);
    await settled();
    expect([shards.isOpen(1), pulled.has(1)]).toEqual([false, false]);
    await end("consumers");
    expect([shards.isOpen(1), pulled.has(1)]).toEqual([true, true]);
  });

  test("is pulled for where its consumers could not be made: intake mends that", async () => {
    const { shards, errors, end } = setup();
    shards.acquired([1]);
    await settled();
    await end("consumers", true);
    expect([shards.isOpen(1), errors.length]).toEqual([true, 1]);
  });

  test("that is given up while it is being opened is not opened after it was closed", async () => {
    const { shards, log, end } = setup();
    shards.acquired([1]);
    await settled();
    const drain = watched(shards.drain([1]));
    await settled();
    await end("close");
    await end("consumers");
    await end("drain");
    expect(drain.end).toBe("done");
    expect([shards.isOpen(1), log]).toEqual([false, ["close 1", "drain 1"]]);
    shards.acquired([1]);
    await settled();
    await end("consumers");
    expect([shards.isOpen(1), log.at(-1)]).toEqual([true, "open 1"]);
  });

  test("that is lost and acquired while it is being opened is opened once, when the new life's consumers are there", async () => {
    const { shards, steps, log, end } = setup();
    shards.acquired([1]);
    await settled();
    shards.lost([1]);
    shards.acquired([1]);
    await settled();
    expect(steps.map(({ of }) => of)).toEqual(["consumers", "close"]);
    await end("consumers");
    expect(shards.isOpen(1)).toBe(false);
    await end("close");
    await end("consumers");
    expect(log).toEqual(["lose 1", "close 1", "open 1"]);
  });

  test("is not opened while it is stopped, nor afterwards", async () => {
    const { shards, pulled, end } = setup();
    shards.acquired([1, 2]);
    await settled();
    await end("consumers");
    const stop = watched(shards.stop());
    shards.acquired([3]);
    await settled();
    await end("consumers");
    await end("close");
    await end("drain");
    expect([stop.end, [...pulled]]).toEqual(["done", []]);
    shards.acquired([1]);
    await settled();
    expect(shards.isOpen(1)).toBe(false);
  });

  test("that is lost while it drains, and acquired again, is opened when the drain has ended", async () => {
    const { shards, steps, end } = setup();
    shards.acquired([1]);
    await settled();
    await end("consumers");
    void shards.drain([1]);
    shards.lost([1]);
    shards.acquired([1]);
    await settled();
    await end("close");
    await end("close");
    expect([shards.isOpen(1), steps.map(({ of }) => of)]).toEqual([false, ["drain"]]);
    await end("drain");
    await end("consumers");
    expect(shards.isOpen(1)).toBe(true);
  });

  test("whose drain failed is begun anew by who still has its lease", async () => {
    const { shards, end } = setup();
    shards.acquired([1]);
    await settled();
    await end("consumers");
    const drain = watched(shards.drain([1]));
    await settled();
    await end("close", true);
    expect([drain.end, shards.isOpen(1)]).toEqual(["failed", false]);
    shards.acquired([1]);
    await settled();
    await end("consumers");
    expect(shards.isOpen(1)).toBe(true);
  });

  test("is drained once, however often that is asked for", async () => {
    const { shards, log, end } = setup();
    shards.acquired([1]);
    await settled();
    await end("consumers");
    const drains = [watched(shards.drain([1])), watched(shards.drain([1])), watched(shards.stop())];
    await settled();
    await end("close");
    expect(drains.map((drain) => drain.end)).toEqual(["pending", "pending", "pending"]);
    await end("drain");
    expect(drains.map((drain) => drain.end)).toEqual(["done", "done", "done"]);
    expect(log).toEqual(["open 1", "close 1", "drain 1"]);
  });
});

/** What a lease keeper may tell, and how each step may end, in any order. */
type Move =
  | { move: "acquire" | "giveUp" | "lose"; shard: number }
  | { move: "stop" }
  | { move: "end"; which: number; fails: boolean };

const shard = fc.integer({ min: 1, max: 2 });
const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ move: fc.constantFrom("acquire", "giveUp", "lose"), shard }) },
  { weight: 6, arbitrary: fc.record({ move: fc.constant("end"), which: fc.nat(), fails: fc.boolean() }) },
  { weight: 1, arbitrary: fc.constant({ move: "stop" }) },
) as fc.Arbitrary<Move>;

/** The lease as its keeper sees it. */
interface Lease {
  held: boolean;
  drain: { end: string } | undefined;
}

/** The keeper's side: it acquires what it neither holds nor drains, and gives up or loses what it holds, drained or not. */
function createModel(world: ReturnType<typeof setup>) {
  const leases = new Map<number, Lease>([1, 2].map((n) => [n, { held: false, drain: undefined }]));
  let stopped = false;
  const lease = (n: number) => leases.get(n)!;
  const act = (next: Move) => {
    if (next.move === "stop") {
      stopped = true;
      void world.shards.stop().catch(() => {});
    } else if (next.move === "end") {
      const step = world.steps.splice(next.which % Math.max(1, world.steps.length), 1)[0];
      if (next.fails) step?.end.reject(new Error("failed"));
      else step?.end.resolve();
    } else if (next.move === "acquire" && !lease(next.shard).held && !lease(next.shard).drain) {
      lease(next.shard).held = true;
      world.shards.acquired([next.shard]);
    } else if (next.move === "giveUp" && lease(next.shard).held && !lease(next.shard).drain) {
      lease(next.shard).drain = watched(world.shards.drain([next.shard]));
    } else if (next.move === "lose" && lease(next.shard).held) {
      leases.set(next.shard, { held: false, drain: undefined });
      world.shards.lost([next.shard]);
    }
  };
  /** A handover that is over: the lease has gone, or where the drain failed it is begun anew. */
  const look = () => {
    for (const [n, found] of leases) {
      if (!found.drain || found.drain.end === "pending") continue;
      const again = found.held && found.drain.end === "failed";
      leases.set(n, { held: again, drain: undefined });
      if (again) world.shards.acquired([n]);
    }
  };
  return { leases, act, look, isStopped: () => stopped };
}

type Model = ReturnType<typeof createModel>;

function check(world: ReturnType<typeof setup>, { leases, isStopped }: Model): void {
  for (const [n, { held, drain }] of leases) {
    expect(world.pulled.has(n)).toBe(world.shards.isOpen(n));
    const isEnding = world.steps.some(({ of, shards }) => of !== "consumers" && shards.includes(n));
    if (!held || drain || isStopped() || isEnding) expect(world.shards.isOpen(n)).toBe(false);
  }
}

/** Ends what is left, as the world does sooner or later. */
async function untilQuiet(world: ReturnType<typeof setup>, model: Model): Promise<void> {
  for (let rounds = 0; rounds < 100; rounds++) {
    for (const { end } of world.steps.splice(0)) end.resolve();
    await settled();
    model.look();
    await settled();
    check(world, model);
    if (world.steps.length === 0) return;
  }
  throw new Error("The shards never come to rest.");
}

test("whatever comes in whatever order, a shard is pulled for exactly while it is ours to open, and never for ever not", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(move, { maxLength: 40, size: "max" }), async (moves) => {
      const world = setup();
      const model = createModel(world);
      for (const next of moves) {
        model.act(next);
        check(world, model);
        await settled();
        model.look();
        check(world, model);
      }
      await untilQuiet(world, model);
      for (const [n, { held }] of model.leases) {
        expect(world.shards.isOpen(n)).toBe(held && !model.isStopped());
      }
    }),
    { numRuns: 300 },
  );
});

describe("with leases of Postgres", () => {
  async function setupReplica(sql: Awaited<ReturnType<typeof createTestDatabase>>["sql"], name: string) {
    const world = setup();
    const keeper = new LeaseKeeper({
      sql,
      role: LeaseRole.delivery,
      name,
      clock: systemClock,
      onAcquired: (shards) => world.shards.acquired(shards),
      onLost: (shards) => world.shards.lost(shards),
      drain: (shards) => world.shards.drain(shards),
      onError: (error) => void world.errors.push(error),
    });
    const endAll = async () => {
      for (const { end } of world.steps.splice(0)) end.resolve();
      await settled();
    };
    return { ...world, keeper, endAll };
  }

  test("a shard that is given up while its consumers are being made serves its new owner, and later us again", async () => {
    const { sql, drop } = await createTestDatabase();
    const one = await setupReplica(sql, "one");
    const other = await setupReplica(sql, "other");
    await one.keeper.tick();
    await other.keeper.tick();
    // The other one lives: half of what is being opened is given up.
    await one.keeper.tick();
    await eventually(() => one.steps.some(({ of }) => of === "close"));
    await one.endAll();
    await eventually(async () => {
      await one.endAll();
      await other.keeper.tick();
      await other.endAll();
      return other.pulled.size === SHARD_COUNT / 2;
    });
    expect(one.pulled.size).toBe(SHARD_COUNT / 2);
    expect([...one.pulled].filter((n) => other.pulled.has(n))).toEqual([]);
    for (let n = 0; n < SHARD_COUNT; n++) expect(one.shards.isOpen(n)).toBe(one.keeper.holds(n));

    const stopped = other.keeper.stop();
    await eventually(async () => {
      await other.endAll();
      await one.keeper.tick();
      await one.endAll();
      return one.pulled.size === SHARD_COUNT;
    });
    await stopped;
    expect(other.pulled.size).toBe(0);
    const end = one.keeper.stop();
    await eventually(async () => {
      await one.endAll();
      return one.keeper.fences().size === 0;
    });
    await end;
    await drop();
  });
});
