import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { applyFact, FactRank, forgetChat, recordRefusals, showFacts } from "#services/core/ledger/reachability.ts";
import { SendReason } from "#services/core/ledger/send.ts";
import { holdLock } from "#test/support/held-transaction.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { createWorld } from "#test/support/world.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

/** One chat with a lead in each of two campaigns of one bot. */
async function setup() {
  const { sql } = database;
  const world = await createWorld(sql, { campaigns: 2, leads: 1 });
  const { botId } = world;
  const { chatId } = world.leads[0]!;
  await sql`
    INSERT INTO lead (campaign_id, bot_id, chat_id, status, status_time, created_time)
    VALUES (${world.campaignIds[1]!}, ${botId}, ${chatId}, 0, now(), now())`;
  const states = async () => {
    const rows = await sql<{ unreachable: number }[]>`
      SELECT unreachable FROM lead WHERE bot_id = ${botId} AND chat_id = ${chatId} ORDER BY id`;
    return rows.map((row) => row.unreachable);
  };
  return { sql, world, botId, chatId, states };
}

/** Long enough ago for no fact to be ahead, and for a refusal's second not to change while it is written. */
const START = Math.floor(Date.now() / 1000) - 1000;

interface Fact {
  rank: number;
  second: number;
  tie: number;
  unreachable: SendReason;
}

type World = Awaited<ReturnType<typeof setup>>;

async function tell({ sql, botId, chatId }: World, { rank, second, tie, unreachable }: Fact): Promise<void> {
  if (rank === FactRank.refusal) {
    const agoMs = Date.now() - (START + second) * 1000 - 500;
    await sql.begin((tx) => recordRefusals(tx, [{ botId, chatId, reason: unreachable, agoMs }], 0));
    return;
  }
  const atUs = (START + second) * 1_000_000 + (rank === FactRank.report ? tie : 0);
  const updateId = rank === FactRank.update ? tie : null;
  await applyFact(sql, { botIds: [botId], chatId, unreachable, atUs, updateId });
}

/** The order, written down once more. */
function newest(facts: readonly Fact[]): Fact {
  return [...facts].sort(
    (a, b) => b.second - a.second || b.rank - a.rank || b.tie - a.tie || b.unreachable - a.unreachable,
  )[0]!;
}

const told = fc.oneof(
  fc.record({
    rank: fc.constantFrom(FactRank.report, FactRank.update),
    second: fc.integer({ min: 0, max: 2 }),
    tie: fc.integer({ min: 0, max: 4 }),
    unreachable: fc.constantFrom(SendReason.none, SendReason.blocked),
  }),
  fc.record({
    rank: fc.constant(FactRank.refusal),
    second: fc.integer({ min: 0, max: 2 }),
    tie: fc.constant(0),
    unreachable: fc.constantFrom(SendReason.blocked, SendReason.deactivated),
  }),
);

describe("what is known of a chat", () => {
  test("is the newest fact, in whatever order and however often the facts come", async () => {
    const history = fc.array(told, { minLength: 1, maxLength: 7 });
    await fc.assert(
      fc.asyncProperty(history, fc.infiniteStream(fc.nat()), async (facts, random) => {
        const world = await setup();
        const shuffled = [...facts, ...facts]
          .map((fact) => ({ fact, key: random.next().value }))
          .sort((a, b) => a.key - b.key);
        for (const { fact } of shuffled) await tell(world, fact);
        const { unreachable } = newest(facts);
        expect(await world.states()).toEqual([unreachable, unreachable]);
      }),
      { numRuns: 40 },
    );
  });

  test("is the newest fact when they come at the same time, too", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(told, { minLength: 2, maxLength: 8 }), async (facts) => {
        const world = await setup();
        await Promise.all(facts.map((fact) => tell(world, fact)));
        const { unreachable } = newest(facts);
        expect(await world.states()).toEqual([unreachable, unreachable]);
      }),
      { numRuns: 25 },
    );
  });

  test("gives way to any fact where it is from before times were kept", async () => {
    const world = await setup();
    await world.sql`UPDATE lead SET unreachable = ${SendReason.chatNotFound} WHERE chat_id = ${world.chatId}`;

    await tell(world, { rank: FactRank.update, second: -START, tie: 0, unreachable: SendReason.none });

    expect(await world.states()).toEqual([0, 0]);
  });

  test("survives a refusal that was written before it, and one of the same second", async () => {
    const world = await setup();
    const update = { rank: FactRank.update, second: 5, tie: 7, unreachable: SendReason.none };
    await tell(world, update);
    for (const second of [4, 5]) {
      await tell(world, { rank: FactRank.refusal, second, tie: 0, unreachable: SendReason.blocked });
      expect(await world.states()).toEqual([0, 0]);
    }
    await tell(world, { rank: FactRank.refusal, second: 6, tie: 0, unreachable: SendReason.blocked });
    expect(await world.states()).toEqual([SendReason.blocked, SendReason.blocked]);
  });

  test("comes from update ids within one second only: they may jump", async () => {
    const world = await setup();
    await tell(world, { rank: FactRank.update, second: 1, tie: 2_000_000, unreachable: SendReason.blocked });
    await tell(world, { rank: FactRank.update, second: 2, tie: 3, unreachable: SendReason.none });
    expect(await world.states()).toEqual([0, 0]);
  });

  test("reaches a lead that was made while it was told", async () => {
    const { sql, world, botId, chatId, states } = await setup();
    const [campaign] = await sql<{ id: number }[]>`
      INSERT INTO campaign (account_id, bot_id, name, code) VALUES (${world.accountId}, ${botId}, '', '') RETURNING id`;
    const commit = await holdLock(
      sql,
      (tx) => tx`
        INSERT INTO lead (campaign_id, bot_id, chat_id, status, status_time, created_time)
        VALUES (${campaign!.id}, ${botId}, ${chatId}, 0, now(), now())`,
    );
    const blocked = { unreachable: SendReason.blocked, atUs: null, updateId: null };
    await applyFact(sql, { botIds: [botId], chatId, ...blocked });
    await commit();
    expect(await states()).toEqual([SendReason.blocked, SendReason.blocked, 0]);

    await showFacts(sql, [botId], [chatId]);

    expect(await states()).toEqual([SendReason.blocked, SendReason.blocked, SendReason.blocked]);
  });

  test("is of leads only, and goes with the last one", async () => {
    const { sql, botId, chatId } = await setup();
    const rows = () => sql`SELECT FROM reachability WHERE bot_id = ${botId}`;
    const blocked = { botIds: [botId], unreachable: SendReason.blocked, atUs: null, updateId: null };

    await applyFact(sql, { ...blocked, chatId: 999_999_999 });
    await sql.begin((tx) =>
      recordRefusals(tx, [{ botId, chatId: 999_999_999, reason: SendReason.blocked, agoMs: 0 }], 0),
    );
    expect(await rows()).toHaveLength(0);
    await applyFact(sql, { ...blocked, chatId });
    await sql.begin((tx) => forgetChat(tx, { botId, chatId }));
    expect(await rows()).toHaveLength(1);
    await sql.begin(async (tx) => {
      await tx`DELETE FROM lead WHERE chat_id = ${chatId}`;
      await forgetChat(tx, { botId, chatId });
    });
    expect(await rows()).toHaveLength(0);
  });
});
