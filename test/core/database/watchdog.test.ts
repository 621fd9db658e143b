import { describe, expect, test } from "bun:test";
import { type Backend, type Doing, Watchdog, type WatchedConnection } from "#services/core/database/watchdog.ts";

type Fake = { -readonly [key in keyof WatchedConnection]: WatchedConnection[key] } & { lost: boolean };

function fakeConnection(pid: number, idle: boolean): Fake {
  const fake: Fake = {
    heard: 0,
    unsent: 0,
    pid,
    awaits: !idle,
    idle,
    lost: false,
    lose: () => Object.assign(fake, { lost: true, awaits: false, idle: false }),
  };
  return fake;
}

/** Connections with pids from 1 on, of which each is idle or awaits an answer, and a Postgres that says what it is told to. */
function setup(connections: ("idle" | "awaiting")[], patienceMs = 60_000) {
  let now = 0;
  const asked: Backend[][] = [];
  const dismissed: number[] = [];
  const world = {
    says: (_pid: number): Doing => "working",
    /** Called while Postgres is being asked. */
    meanwhile: () => {},
    fakes: connections.map((state, i) => fakeConnection(i + 1, state === "idle")),
    asked,
    dismissed,
    lost: () => world.fakes.flatMap((fake, i) => (fake.lost ? [i + 1] : [])),
    /** A look each second. */
    pass: async (seconds: number) => {
      for (let i = 0; i < seconds; i++) {
        now += 1_000;
        await watchdog.look();
      }
    },
  };
  const watchdog = new Watchdog({
    monotonicMs: () => now,
    ask: async (backends) => {
      asked.push([...backends]);
      world.meanwhile();
      return backends.map(({ pid }) => world.says(pid));
    },
    dismiss: async (backends) => void dismissed.push(...backends.map(({ pid }) => pid)),
    patienceMs,
  });
  for (const fake of world.fakes) watchdog.watch(fake);
  return world;
}

describe("Watchdog", () => {
  test("asks nothing about connections that are idle, or answer within four seconds", async () => {
    const world = setup(["idle", "awaiting"]);
    for (let i = 0; i < 10; i++) {
      await world.pass(4);
      world.fakes[1]!.heard++;
    }
    expect(world.asked).toEqual([]);
  });

  test("leaves a connection alone for as long as its backend works", async () => {
    const world = setup(["awaiting"]);
    await world.pass(600);
    expect(world.lost()).toEqual([]);
    expect(world.asked.length).toBeLessThanOrEqual(600 / 5);
  });

  test.each(["waiting", "gone"] as const)("gives one up whose backend is %s, twice a second apart", async (doing) => {
    const world = setup(["awaiting"]);
    world.says = () => doing;
    await world.pass(5);
    expect([world.asked.length, world.lost()]).toEqual([1, []]);
    await world.pass(1);
    expect([world.asked.length, world.lost(), world.dismissed]).toEqual([2, [1], [1]]);
    await world.pass(60);
    expect(world.asked).toHaveLength(2);
  });

  test.each([1, 2])("believes a byte that comes during question %d more than what Postgres said", async (nth) => {
    const world = setup(["awaiting"]);
    world.says = () => "waiting";
    world.meanwhile = () => {
      if (world.asked.length === nth) world.fakes[0]!.heard++;
    };
    await world.pass(6);
    expect(world.lost()).toEqual([]);
  });

  test("does not suspect one whose request is still being written", async () => {
    const world = setup(["awaiting"]);
    world.says = () => "waiting";
    for (let i = 30; i >= 0; i--) {
      world.fakes[0]!.unsent = i;
      await world.pass(1);
    }
    expect(world.asked).toEqual([]);
  });

  test("begins anew when the backend worked in between", async () => {
    const world = setup(["awaiting"]);
    world.says = () => (world.asked.length % 2 === 1 ? "waiting" : "working");
    await world.pass(60);
    expect(world.lost()).toEqual([]);
  });

  test("closes idle connections that said nothing since, and no other", async () => {
    const world = setup(["awaiting", "idle", "idle", "awaiting"]);
    world.says = (pid) => (pid === 1 ? "waiting" : "working");
    await world.pass(3);
    world.fakes[2]!.heard++;
    await world.pass(4);
    expect([world.lost(), world.dismissed]).toEqual([
      [1, 2],
      [1, 2],
    ]);
  });

  test("is patient where nobody can say, and ends no backend then", async () => {
    const world = setup(["awaiting"], 60_000);
    world.says = () => "unknown";
    await world.pass(60);
    expect(world.lost()).toEqual([]);
    await world.pass(1);
    expect([world.lost(), world.dismissed]).toEqual([[1], []]);
  });

  test("is as patient while Postgres cannot be asked", async () => {
    const world = setup(["awaiting"], 60_000);
    world.says = () => {
      throw new Error("Postgres is away.");
    };
    await world.pass(60);
    expect(world.lost()).toEqual([]);
    world.says = () => "gone";
    await world.pass(2);
    expect(world.lost()).toEqual([1]);
  });

  test("tells a backend's age from when it first saw it", async () => {
    const world = setup(["idle"]);
    await world.pass(10);
    Object.assign(world.fakes[0]!, { pid: 7, awaits: true, idle: false });
    await world.pass(5);
    expect(world.asked).toEqual([[{ pid: 7, ageMs: 4_000 }]]);
  });
});
