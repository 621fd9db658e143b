/** Each verb on a row in each state, on a real Postgres: it moves what the table says, and leaves the rest alone. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { startBroadcast } from "#services/broadcast/life-cycle.ts";
import type { TransactionSql } from "#services/core/database/client.ts";
import type { ClaimedSend } from "#services/core/ledger/claim.ts";
import { CounterDeltas } from "#services/core/ledger/counters.ts";
import { doubtSource } from "#services/core/ledger/doubt.ts";
import { eraseSends } from "#services/core/ledger/erase.ts";
import { updateToTakenBack } from "#services/core/ledger/fault-streak-store.ts";
import { pruneRetired, retireSource } from "#services/core/ledger/prune.ts";
import { rescueSends } from "#services/core/ledger/rescue.ts";
import { scheduleFollowUps } from "#services/core/ledger/schedule.ts";
import {
  checkTransition,
  NO_ROW,
  SendReason,
  SendState,
  type SendVerb,
  TRANSITIONS,
} from "#services/core/ledger/send.ts";
import type { SendResult } from "#services/core/ledger/settle.ts";
import { createTestDatabase, type TestDatabase } from "#test/support/postgres.ts";
import { broadcastJob, createWorld, rowsOf, type World } from "#test/support/world.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const states = Object.values(SendState);

interface Scene {
  world: World;
  broadcastId: number;
  sourceId: number;
  /** One for each state, in the order of the states; all were claimed once. */
  claims: ClaimedSend[];
}

/** A running broadcast with one lead in each state, and one lead that has no row. */
async function setup(): Promise<Scene> {
  const world = await createWorld(database.sql, { leads: states.length });
  const broadcastId = await world.addBroadcast();
  await startBroadcast(world.sql, world.accountId, broadcastId);
  const claims = await world.claimQueued(broadcastId);
  for (const [i, { sourceId, leadId }] of claims.entries()) {
    await world.sql`
      UPDATE send SET state = ${states[i]!}, settled_at = CASE WHEN ${states[i]! >= SendState.sent}::boolean THEN now() END
      WHERE source_id = ${sourceId} AND lead_id = ${leadId}`;
  }
  await world.addLeads(1);
  return { world, broadcastId, sourceId: claims[0]!.sourceId, claims };
}

const inTransaction = (world: World, work: (tx: TransactionSql) => Promise<unknown>) => world.sql.begin(work);

const claimAll = ({ world, sourceId }: Scene) => world.claim(world.leads.map((lead) => broadcastJob(sourceId, lead)));

const settleAll = (result: SendResult) => async (scene: Scene) => {
  await scene.world.settle(scene.claims, result);
};

const putBack: SendResult = { result: "putBack", reason: SendReason.shutdown };

/** Everything that a verb can do to a send. */
const ACTS: Record<SendVerb, ((scene: Scene) => Promise<unknown>)[]> = {
  enqueue: [
    async ({ world, broadcastId }) => {
      await world.sql`UPDATE broadcast SET state = 2 WHERE id = ${broadcastId}`;
      await startBroadcast(world.sql, world.accountId, broadcastId);
    },
  ],
  schedule: [
    async (scene) => {
      const { world, sourceId } = scene;
      const blockSource = await world.addBlock();
      // The block takes the broadcast's rows over, as if its leads had entered its status once before.
      await world.sql`DELETE FROM block WHERE source_id = ${blockSource}`;
      await world.sql`
        INSERT INTO block (campaign_id, status, source_id, "on", text, parsed)
        VALUES (${world.campaignId}, 0, ${sourceId}, true, 'Hi', ${world.sql.json({ text: "Hi", entities: [] })})`;
      const entries = world.leads.map((lead) => ({ leadId: lead.id, entry: 0, status: 0, statusTimeUs: 0 }));
      const campaign = { id: world.campaignId, botId: world.botId };
      await inTransaction(world, (tx) => scheduleFollowUps(tx, campaign, entries));
    },
  ],
  claim: [claimAll],
  drop: [
    async (scene) => {
      await scene.world.sql`UPDATE lead SET opted_out = true WHERE campaign_id = ${scene.world.campaignId}`;
      await claimAll(scene);
    },
  ],
  settle: [
    settleAll({ result: "sent", messageId: 1 }),
    settleAll({ result: "failed", reason: SendReason.refused, leaves: false }),
    settleAll({ result: "unconfirmed", reason: SendReason.timeout }),
    settleAll(putBack),
    async (scene) => {
      await scene.world.sql`UPDATE broadcast SET state = 3 WHERE id = ${scene.broadcastId}`;
      await settleAll(putBack)(scene);
    },
  ],
  takeBack: [
    async ({ world, sourceId, claims }) => {
      for (const { leadId, botId, chatId } of claims) {
        await world.sql`
          INSERT INTO bot_refusal (bot_id, source_id, lead_id, chat_id, entry, words)
          VALUES (${botId}, ${sourceId}, ${leadId}, ${chatId}, 0, 'no')`;
      }
      const streak = { botId: world.botId, key: "no" };
      await inTransaction(world, (tx) => updateToTakenBack(tx, streak, new Map([[sourceId, 1]])));
    },
  ],
  rescue: [
    async ({ world, sourceId }) => {
      await world.sql`UPDATE send SET rescue_at = now() - interval '1 hour' WHERE source_id = ${sourceId}`;
      await rescueSends(world.sql);
    },
  ],
  doubt: [({ world, sourceId }) => inTransaction(world, (tx) => doubtSource(tx, sourceId))],
  erase: [
    async ({ world, sourceId, claims }) => {
      const { accountId, campaignId } = world;
      for (const { leadId } of claims) {
        await inTransaction(world, (tx) => eraseSends(tx, { accountId, campaignId, leadId }, [sourceId]));
      }
    },
  ],
  prune: [
    async ({ world, sourceId }) => {
      await inTransaction(world, (tx) => retireSource(tx, sourceId));
      while (await pruneRetired(world.sql));
    },
  ],
};

type Rows = Map<number, { state: SendState; run: number }>;

async function look({ world, sourceId }: Scene): Promise<Rows> {
  const rows = await rowsOf(world.sql, sourceId);
  return new Map(rows.map(({ leadId, state, run }) => [leadId, { state: state as SendState, run }]));
}

/** What moved, as "from → to"; a row that another run has taken has moved too. Late proof may say the same again. */
async function movesOf(act: (scene: Scene) => Promise<unknown>): Promise<string[]> {
  const scene = await setup();
  const before = await look(scene);
  await act(scene);
  const after = await look(scene);
  return scene.world.leads.flatMap(({ id }) => {
    const [from, to] = [before.get(id), after.get(id)];
    if (from?.state === to?.state && from?.run === to?.run) return [];
    return [`${from?.state ?? NO_ROW} → ${to?.state ?? NO_ROW}`];
  });
}

function movesInTable(verb: SendVerb): string[] {
  const moves = Object.entries(TRANSITIONS[verb]).flatMap(([from, all]) => all.map((to) => `${from} → ${to}`));
  // Proof that it still cannot be known leaves nothing to see.
  return moves.filter((move) => verb !== "settle" || move !== `${SendState.unconfirmed} → ${SendState.unconfirmed}`);
}

describe("a send", () => {
  test.each(Object.keys(TRANSITIONS) as SendVerb[])("is moved by %s exactly as the table says", async (verb) => {
    const moves = new Set<string>();
    for (const act of ACTS[verb]) for (const move of await movesOf(act)) moves.add(move);
    expect([...moves].sort()).toEqual(movesInTable(verb).sort());
  });

  test("is not counted where the table has no such move", () => {
    const send = { sourceId: 1, botId: 1 };
    expect(() => new CounterDeltas().move("claim", send, SendState.sent, SendState.sending)).toThrow("by claim");
    expect(() => new CounterDeltas().prune(send, SendState.sending)).toThrow("by prune");
    expect(() => checkTransition("rescue", SendState.queued, SendState.unconfirmed)).toThrow("by rescue");
  });
});
