/** Start of a large audience, beside its own INSERT … SELECT alone. */

import { MAX_QUEUED } from "#services/broadcast/queue-room.ts";
import { audienceOf, selectBroadcast } from "#services/broadcast/store.ts";
import type { TransactionSql } from "#services/core/database/client.ts";
import { insertFirstRun, insertTopUp } from "#services/core/ledger/enqueue.ts";
import { startChild } from "../child.ts";
import type { Figure } from "../figure.ts";
import type { BenchDatabase } from "../ground.ts";
import { interleave, timeMs } from "../measure.ts";
import { broadcastClient } from "../pipeline.ts";
import type { BroadcastChildOptions } from "../processes/broadcast.ts";
import type { Row, RowContext } from "../row.ts";
import { addBroadcast, addLeads, createWorld, emptyLedger, type World } from "../world.ts";

type Client = Awaited<ReturnType<typeof broadcastClient>>;

interface Stage extends BenchDatabase {
  world: World;
  client: Client;
  leads: number;
}

export const start: Row = {
  name: "start",
  limits: `\
The statement itself: writing the rows and their two index entries. Around it Start makes ten small statements; a top-up also
counts the live audience, for \`total\`.`,
  run: async (context) => {
    const { ground, quick } = context;
    const leads = quick ? 2_000 : 1_000_000;
    const database = await ground.createDatabase();
    const child = await startChild("broadcast", {
      databaseUrl: database.url,
      rpcTokens: [...ground.rpcTokens],
    } satisfies BroadcastChildOptions);
    try {
      const world = await createWorld(database.sql, { bots: quick ? 2 : 10, leads });
      const stage = { ...database, world, client: await broadcastClient(ground, child), leads };
      return [await firstRun(context, stage), await topUp(context, stage)];
    } finally {
      await child.stop();
      await database.drop();
    }
  },
};

const goal = { of: "ratio", is: "at most", limit: 1.2 } as const;

async function firstRun({ rounds, say }: RowContext, { sql, world, client, leads }: Stage): Promise<Figure> {
  const broadcastId = await addBroadcast(sql, world.accountId);
  const numbers = await interleave(rounds, {
    product: async () => {
      await emptyLedger(sql);
      await sql`CHECKPOINT`;
      const ms = await timeMs(() => startThroughRpc(client, world, broadcastId));
      say(`Start of ${leads}: ${Math.round(ms)} ms`);
      return ms;
    },
    floor: async () => {
      await emptyLedger(sql);
      await sql`CHECKPOINT`;
      const row = (await selectBroadcast(sql, world.accountId, broadcastId))!;
      const ledger = { sourceId: row.sourceId, run: 1, limit: MAX_QUEUED };
      return await timeMs(() => insertFirstRun(alone(sql), audienceOf(world.accountId, row), ledger));
    },
  });
  await emptyLedger(sql);
  return {
    name: `Start of ${leads} leads, first run`,
    unit: "ms",
    product: numbers.product,
    floor: { name: "its INSERT … SELECT alone", numbers: numbers.floor },
    goal,
  };
}

/** All have been reached; then one in a hundred comes anew. What a Start takes is taken back after each measurement. */
async function topUp({ rounds, say }: RowContext, { sql, world, client, leads }: Stage): Promise<Figure> {
  const broadcastId = await addBroadcast(sql, world.accountId);
  await startThroughRpc(client, world, broadcastId);
  await sql`UPDATE send SET state = 2, message_id = lead_id, settled_at = now()`;
  await sql`UPDATE send_counter SET sent = enqueued`;
  await addLeads(sql, world, Math.ceil(leads / 100));
  await sql`UPDATE broadcast SET state = 2 WHERE id = ${broadcastId}`;
  await sql`VACUUM ANALYZE send`;
  const row = (await selectBroadcast(sql, world.accountId, broadcastId))!;
  const counters = await sql`SELECT * FROM send_counter`;
  const undo = async () => {
    await sql`DELETE FROM send WHERE state = 0`;
    await sql`UPDATE send_counter SET enqueued = ${counters[0]!.enqueued}`;
    await sql`UPDATE broadcast SET state = 2, run = ${row.run} WHERE id = ${broadcastId}`;
    await sql`CHECKPOINT`;
  };
  const numbers = await interleave(rounds, {
    product: async () => {
      const ms = await timeMs(() => startThroughRpc(client, world, broadcastId));
      say(`top-up: ${Math.round(ms)} ms`);
      await undo();
      return ms;
    },
    floor: async () => {
      const ledger = { sourceId: row.sourceId, run: row.run + 1 };
      const ms = await timeMs(() => insertTopUp(alone(sql), audienceOf(world.accountId, row), ledger));
      await undo();
      return ms;
    },
  });
  return {
    name: "Start, top-up of 1 %",
    unit: "ms",
    product: numbers.product,
    floor: { name: "its INSERT … SELECT alone", numbers: numbers.floor },
    goal,
  };
}

/** The statements take a transaction; alone they are one by themselves. */
function alone(sql: BenchDatabase["sql"]): TransactionSql {
  return sql as unknown as TransactionSql;
}

async function startThroughRpc(client: Client, { accountId }: World, broadcastId: number): Promise<void> {
  await client.startBroadcast({ accountId: BigInt(accountId), broadcastId: BigInt(broadcastId) });
}
