import { describe, expect, test } from "bun:test";
import { backOffMs, type Death, Keeper, type Running } from "#services/local/supervisor/keeper.ts";
import { eventually } from "#test/support/eventually.ts";

/** A process that lives until it is told to die. */
function setup() {
  const started: { die(death: Death): void; stopped: boolean }[] = [];
  const said: string[] = [];
  const start = async (): Promise<Running> => {
    const { promise, resolve } = Promise.withResolvers<Death>();
    const entry = { die: resolve, stopped: false };
    started.push(entry);
    const end = () => {
      entry.stopped = true;
      resolve({ ending: "SIGTERM", lastWords: "" });
    };
    return { pid: started.length, exited: promise, stop: async () => end(), kill: end };
  };
  const keeper = new Keeper({ name: "delivery", start, say: (line) => said.push(line) });
  return { keeper, started, said };
}

describe("Keeper", () => {
  test("starts a process again when it dies, and says so in one line", async () => {
    const { keeper, started, said } = setup();
    await keeper.start();
    keeper.markWell();
    started[0]!.die({ ending: "SIGKILL", lastWords: "" });
    await eventually(() => keeper.pid === 2);
    expect(said).toEqual(["delivery died (SIGKILL); starting it again in 0.2 s"]);
    await keeper.stop();
    expect(started[1]!.stopped).toBe(true);
  });

  test("starts nothing again once it was told to stop", async () => {
    const { keeper, started, said } = setup();
    await keeper.start();
    await keeper.stop();
    await keeper.stop();
    expect(started).toHaveLength(1);
    expect(said).toEqual([]);
  });

  test("stops while it waits to start again, without starting", async () => {
    const { keeper, started, said } = setup();
    await keeper.start();
    keeper.markWell();
    started[0]!.die({ ending: "exit code 1", lastWords: "error: no memory" });
    await eventually(() => said.length === 1);
    await keeper.stop();
    expect(started).toHaveLength(1);
    expect(said[0]).toContain("exit code 1: error: no memory");
  });

  test("gives up on a process that dies three times before it was ever well", async () => {
    const { keeper, started } = setup();
    await keeper.start();
    for (const count of [1, 2, 3]) {
      await eventually(() => started.length === count);
      started[count - 1]!.die({ ending: "exit code 1", lastWords: "boom" });
    }
    await expect(keeper.hopeless).rejects.toThrow("exit code 1: boom");
    await keeper.stop();
  });

  test("gives up at once on a process that does not take its configuration", async () => {
    const { keeper, started } = setup();
    await keeper.start();
    started[0]!.die({ ending: "exit code 78", lastWords: "DATABASE_URL: is not set" });
    await expect(keeper.hopeless).rejects.toThrow("DATABASE_URL: is not set");
    await keeper.stop();
  });

  test("waits 0.2 s at first, twice as long each time, and never more than 5 s", () => {
    expect([1, 2, 3, 4, 5, 6, 40].map(backOffMs)).toEqual([200, 400, 800, 1600, 3200, 5000, 5000]);
  });
});
