import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { cancelBroadcast, resumeBroadcast, reviewBroadcast, startBroadcast } from "#services/broadcast/life-cycle.ts";
import type { ClaimedSend, SendJob } from "#services/core/ledger/claim.ts";
import type { Suspicion } from "#services/core/ledger/fault-streak.ts";
import { HoldReason, SendReason, SendState } from "#services/core/ledger/send.ts";
import type { SendResult } from "#services/core/ledger/settle.ts";
import { expectConsistent } from "#test/support/consistent.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { claimedOf, countersOf, createWorld, rowsOf, type WorldOptions } from "#test/support/world.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(() => expectConsistent(database.sql));
afterAll(() => database.drop());

const UNLISTED = 5;
const sent: SendResult = { result: "sent", messageId: 1 };
const suspicion = (key: string, limit = UNLISTED): Suspicion => ({ key, words: `Bad Request: ${key}`, limit });
const refused = (key = "frozen"): SendResult => ({
  result: "bodyFault",
  reason: SendReason.body,
  words: key,
  suspicion: suspicion(key),
});
const notFound: SendResult = {
  result: "failed",
  reason: SendReason.chatNotFound,
  leaves: true,
  suspicion: suspicion("chat not found", 20),
};
const blocked: SendResult = { result: "failed", reason: SendReason.blocked, leaves: true };

/** A broadcast under way whose body somebody has had. */
async function setup({ accepted = true, ...options }: WorldOptions & { accepted?: boolean } = {}) {
  const world = await createWorld(database.sql, { leads: 40, ...options });
  const start = async () => {
    const id = await world.addBroadcast();
    await startBroadcast(world.sql, world.accountId, id);
    return id;
  };
  const id = await start();
  if (accepted) await world.settle(await world.claimQueued(id, 1), sent);
  const { sourceId } = await world.broadcast(id);
  return {
    ...world,
    id,
    sourceId,
    start,
    claim: async (n: number, trying = false) => claimedOf(await world.claim(await world.jobs(id, n), { trying })),
    claimJobs: async (jobs: SendJob[], trying = false) => claimedOf(await world.claim(jobs, { trying })),
    hold: async (botId = world.botId) => {
      const [row] = await world.sql<{ words: string; message: string; probes: number }[]>`
        SELECT words, message, probes FROM lane WHERE bot_id = ${botId} AND reason = ${HoldReason.botFault}`;
      return row;
    },
    inVain: async (probes: number) => {
      await world.sql`
        UPDATE lane SET probes = ${probes}, tried_at = clock_timestamp() WHERE bot_id = ${world.botId}`;
    },
    unreachable: async () => {
      const [row] = await world.sql<{ n: number }[]>`
        SELECT count(*)::int AS n FROM lead WHERE bot_id = ANY(${world.botIds}::bigint[]) AND unreachable <> 0`;
      return row!.n;
    },
    review: () => reviewBroadcast(world.sql, world.accountId, id),
    resume: () => resumeBroadcast(world.sql, world.accountId, id),
  };
}

function inTurn(
  sends: ClaimedSend[],
  results: SendResult[],
): [ClaimedSend[], (s: ClaimedSend, i: number) => SendResult] {
  return [sends, (_, i) => results[i]!];
}

describe("five leads in a row that are refused in words of no table", () => {
  test("are taken back, and their bot is held with the words", async () => {
    const world = await setup();
    await world.settle(await world.claim(4), refused());
    expect(await world.counters(world.id)).toMatchObject({ failed: 4, queued: 35 });
    expect(await world.hold()).toBeUndefined();
    await world.settle(await world.claim(1), refused());
    expect(await world.hold()).toEqual({ words: "frozen", message: expect.stringContaining("frozen"), probes: 0 });
    expect(await world.counters(world.id)).toMatchObject({ sent: 1, failed: 0, queued: 39 });
    expect(await world.used()).toBe(1);
    expect(await world.claim(3)).toEqual([]);
    expect(await world.claim(1, true)).toHaveLength(1);
  });

  test("count by chat, over all broadcasts and follow-ups of the bot, each settled by itself", async () => {
    const world = await setup({ leads: 8 });
    const other = await world.start();
    await world.settle(await world.claimQueued(other, 1), sent);
    const block = await world.addBlock();
    const again = (await world.jobs(other)).filter((job) => job.leadId === world.leads[1]!.id);
    await world.settle(await world.claim(1), refused());
    // The same person in another broadcast is no other one.
    await world.settle(await world.claimJobs(again), refused());
    await world.settle(await world.claim(1), refused());
    await world.settle(await world.claimJobs(await world.schedule(block, [world.leads[5]!])), refused());
    await world.settle(await world.claim(1), refused());
    expect(await world.hold()).toBeUndefined();
    await world.settle(await world.claim(1), refused());
    expect(await world.hold()).toBeDefined();
    expect(await countersOf(world.sql, block)).toMatchObject({ queued: 1, failed: 0 });
    expect(await world.counters(world.id)).toMatchObject({ failed: 0 });
    expect(await world.counters(other)).toMatchObject({ failed: 0 });
  });

  test("are counted by their words, and an accepted send of the bot ends them", async () => {
    const world = await setup();
    await world.settle(
      ...inTurn(await world.claim(8), [...Array(4).fill(refused("a")), ...Array(4).fill(refused("b"))]),
    );
    expect(await world.hold()).toBeUndefined();
    await world.settle(await world.claim(1), sent);
    await world.settle(await world.claim(4), refused("a"));
    expect(await world.hold()).toBeUndefined();
    await world.settle(...inTurn(await world.claim(2), [blocked, refused("a")]));
    expect((await world.hold())?.words).toBe("a");
    // Those from before the accepted send are the leads' own.
    expect(await world.counters(world.id)).toMatchObject({ failed: 9, sent: 2 });
  });

  test("count in the order in which the answers came, within one settle", async () => {
    const world = await setup();
    const order = [...Array(4).fill(refused()), sent, ...Array(4).fill(refused())];
    await world.settle(...inTurn(await world.claim(9), order));
    expect(await world.hold()).toBeUndefined();
    expect(await world.counters(world.id)).toMatchObject({ failed: 8 });
    await world.settle(await world.claim(1), refused());
    expect(await world.counters(world.id)).toMatchObject({ failed: 4 });
    expect(await world.hold()).toBeDefined();
  });

  test("are counted once each, also where a result is written twice in one settle", async () => {
    const world = await setup();
    const sends = await world.claim(4);
    await world.settle([...sends, ...sends], refused());
    expect(await world.hold()).toBeUndefined();
    expect(await world.counters(world.id)).toMatchObject({ failed: 4 });
  });

  test("are of one bot: another's are not counted with them", async () => {
    const world = await setup({ bots: 2, leads: 20 });
    const sends = await world.claim(8);
    const bots = Map.groupBy(sends, (send) => send.botId);
    expect([...bots.values()].map((list) => list.length)).toEqual([4, 4]);
    await world.settle(sends, refused());
    expect(await world.counters(world.id)).toMatchObject({ failed: 8 });
    expect(await Promise.all(world.botIds.map((bot) => world.hold(bot)))).toEqual([undefined, undefined]);
  });

  test("fail for good where fewer are all that there are", async () => {
    const world = await setup({ leads: 5 });
    await world.settle(await world.claim(4), refused());
    expect(await world.review()).toBe(2);
    expect(await world.counters(world.id)).toMatchObject({ sent: 1, failed: 4 });
  });

  test("come back although they are all that there are, before anybody can find the broadcast done", async () => {
    const world = await setup({ leads: 6 });
    await world.settle(await world.claim(5), refused());
    expect(await world.review()).toBe(1);
    expect(await world.counters(world.id)).toMatchObject({ sent: 1, queued: 5, failed: 0 });
  });

  test("stay where they are if their run is closed", async () => {
    const world = await setup();
    const sends = await world.claim(5);
    await world.settle(sends.slice(0, 4), refused());
    await cancelBroadcast(world.sql, world.accountId, world.id);
    await world.settle(sends.slice(4), refused());
    expect(await world.hold()).toBeDefined();
    expect(await world.counters(world.id)).toMatchObject({ failed: 5, queued: 0, dropped: 34 });
  });

  test("of a body that nobody has had are judged by the body's rule, with Telegram's words", async () => {
    const world = await setup({ accepted: false });
    await world.settle(await world.claim(5), refused());
    expect(await world.hold()).toBeUndefined();
    expect(await world.review()).toBe(4);
    expect((await world.broadcast(world.id)).pauseReason).toContain("It said: frozen.");
  });
});

describe("while a bot is held", () => {
  async function held(options: WorldOptions = {}) {
    const world = await setup(options);
    const onTheWire = await world.claim(8);
    await world.settle(onTheWire.slice(0, 5), refused());
    return { ...world, onTheWire: onTheWire.slice(5) };
  }

  test("the same refusal of what was on the wire comes back, and counts against nobody", async () => {
    const world = await held();
    await world.settle(world.onTheWire, refused());
    expect(await world.counters(world.id)).toMatchObject({ sent: 1, failed: 0, queued: 39 });
    expect(await world.used()).toBe(1);
  });

  test("an accepted send ends it for what came behind it, within one settle too", async () => {
    const world = await held();
    await world.settle(...inTurn(world.onTheWire, [refused(), sent, refused()]));
    expect(await world.hold()).toBeUndefined();
    expect(await world.counters(world.id)).toMatchObject({ sent: 2, failed: 1, queued: 37 });
  });

  test("another refusal fails, and an accepted send ends the hold", async () => {
    const world = await held();
    await world.settle(...inTurn(world.onTheWire, [blocked, refused("other"), sent]));
    expect(await world.hold()).toBeUndefined();
    expect(await world.counters(world.id)).toMatchObject({ sent: 2, failed: 2, queued: 36 });
  });

  test("a body that nobody has had is not blamed for the bot's words", async () => {
    const world = await held();
    const other = await world.start();
    await world.settle(await world.claimJobs(await world.jobs(other, 3), true), refused());
    expect(await world.broadcast(other)).toMatchObject({ faultLeads: 0 });
    expect((await rowsOf(world.sql, (await world.broadcast(other)).sourceId)).every((row) => row.state === 0)).toBe(
      true,
    );
  });

  test("a lead that comes back after the hold, and meets the same words, is judged by itself", async () => {
    const world = await held();
    await world.settle(world.onTheWire, sent);
    expect(await world.hold()).toBeUndefined();
    await world.settle(await world.claim(5), refused());
    expect(await world.hold()).toBeUndefined();
    expect(await world.counters(world.id)).toMatchObject({ failed: 5 });
    // Unless so many others meet them, too: then none of them was to blame.
    await world.settle(await world.claim(5), refused());
    expect(await world.hold()).toBeDefined();
    expect(await world.counters(world.id)).toMatchObject({ failed: 0 });
  });

  test("ten tries in vain pause its broadcasts with the words, and Resume makes them the leads'", async () => {
    const world = await held();
    await world.settle(world.onTheWire, refused());
    await world.inVain(9);
    expect(await world.review()).toBe(1);
    await world.inVain(10);
    expect(await world.review()).toBe(4);
    expect((await world.broadcast(world.id)).pauseReason).toContain("Bad Request: frozen");
    await world.resume();
    expect(await world.hold()).toBeUndefined();
    await world.settle(await world.claim(30), refused());
    expect(await world.counters(world.id)).toMatchObject({ failed: 30, queued: 9 });
    expect(await world.review()).toBe(1);
    // Other words are not excused.
    await world.settle(await world.claim(6), refused("other"));
    expect((await world.hold())?.words).toBe("other");
    expect(await world.counters(world.id)).toMatchObject({ failed: 30, queued: 9 });
  });

  test("a broadcast that was started since the last try is not paused before one more", async () => {
    const world = await held();
    await world.inVain(10);
    const other = await world.start();
    expect(await reviewBroadcast(world.sql, world.accountId, other)).toBe(1);
    await world.inVain(11);
    expect(await reviewBroadcast(world.sql, world.accountId, other)).toBe(4);
  });
});

describe("twenty leads in a row whose chat is not found", () => {
  test("are taken back, and stay in audiences", async () => {
    const world = await setup();
    await world.settle(await world.claim(19), notFound);
    expect(await world.counters(world.id)).toMatchObject({ failed: 19 });
    expect(await world.unreachable()).toBe(19);
    await world.settle(...inTurn(await world.claim(2), [blocked, notFound]));
    expect(await world.counters(world.id)).toMatchObject({ failed: 1, queued: 38 });
    expect(await world.unreachable()).toBe(1);
    expect((await world.hold())?.words).toBe("chat not found");
  });

  test("are counted whether or not somebody has had the body", async () => {
    const world = await setup({ accepted: false });
    await world.settle(await world.claim(20), notFound);
    expect(await world.hold()).toBeDefined();
    expect(await world.counters(world.id)).toMatchObject({ failed: 0, queued: 40 });
    expect(await world.unreachable()).toBe(0);
  });
});

describe("any order of answers", () => {
  /** What must be true of the streak after each, kept by hand. */
  class Model {
    held: string | undefined;
    readonly fresh = new Map<string, number[]>();
    failed = 0;

    take(answer: "sent" | "blocked" | "a" | "b", lead: number): void {
      if (answer === "blocked") this.failed++;
      else if (answer === "sent") {
        this.held = undefined;
        this.fresh.clear();
      } else if (this.held !== answer) this.#refuse(answer, lead);
    }

    #refuse(answer: string, lead: number): void {
      const alike = [...(this.fresh.get(answer) ?? []), lead];
      this.fresh.set(answer, alike);
      this.failed++;
      if (alike.length < UNLISTED) return;
      this.failed -= alike.length;
      this.fresh.delete(answer);
      this.held = answer;
    }
  }

  const results = { sent, blocked, a: refused("a"), b: refused("b") };
  const answer = fc.constantFrom<("sent" | "blocked" | "a" | "b")[]>(
    "a",
    "a",
    "a",
    "a",
    "b",
    "b",
    "b",
    "blocked",
    "sent",
  );

  test("comes to what five different leads in a row say, however they are settled together", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(answer, { minLength: 1, maxLength: 36 }),
        fc.integer({ min: 1, max: 9 }),
        async (order, group) => {
          const world = await setup({ leads: 37 });
          const model = new Model();
          const sends = await world.claim(36);
          for (let from = 0; from < order.length; from += group) {
            const part = order.slice(from, from + group);
            await world.settle(
              ...inTurn(
                sends.slice(from, from + part.length),
                part.map((kind) => results[kind]),
              ),
            );
          }
          for (const [i, kind] of order.entries()) model.take(kind, i);
          expect((await world.hold())?.words).toBe(model.held as never);
          const states = (await world.rows(world.id)).filter((row) => row.state === SendState.failed);
          expect(states.length).toBe(model.failed);
          await expectConsistent(world.sql);
        },
      ),
      { numRuns: 25 },
    );
  });
});
