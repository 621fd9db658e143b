/** Pause, Cancel, Reset and Delete of a broadcast with a million queued, beside the same with a thousand. */
import type { Sql } from "#services/core/database/client.ts";
import { startChild } from "../child.ts";
import type { Figure } from "../figure.ts";
import { interleave, median, timeMs } from "../measure.ts";
import { broadcastClient } from "../pipeline.ts";
import type { BroadcastChildOptions } from "../processes/broadcast.ts";
import type { Row } from "../row.ts";
import { addBroadcast, createWorld } from "../world.ts";

type Client = Awaited<ReturnType<typeof broadcastClient>>;

/** Calls of one round: each takes milliseconds, most of them for one fsync. */
const CALLS = 20;

export const lifeCycle: Row = {
  name: "life-cycle",
  limits: `\
One fsync of a commit and ten round trips; none of the statements touches the ledger's rows. The million are deleted in the
background, 5,000 in a transaction, which is not part of the call and is switched off here.`,
  run: async ({ ground, quick, rounds }) => {
    const database = await ground.createDatabase();
    const { sql } = database;
    const child = await startChild("broadcast", {
      databaseUrl: database.url,
      rpcTokens: [...ground.rpcTokens],
    } satisfies BroadcastChildOptions);
    try {
      const client = await broadcastClient(ground, child);
      const large = await startedBroadcast(sql, client, quick ? 2_000 : 1_000_000);
      const small = await startedBroadcast(sql, client, quick ? 100 : 1_000);
      const calls = quick ? 2 : CALLS;
      const figures: Figure[] = [];
      for (const call of Object.keys(lifeCycleCalls) as CallName[]) {
        const numbers = await interleave(rounds, {
          product: () => callOften(sql, client, large, call, calls),
          floor: () => callOften(sql, client, small, call, calls),
        });
        figures.push({
          name: `${call} at ${large.queued} queued`,
          unit: "ms",
          product: numbers.product,
          floor: { name: `at ${small.queued}`, numbers: numbers.floor },
          goal: { of: "ratio", is: "at most", limit: 1.5 },
        });
      }
      return figures;
    } finally {
      await child.stop();
      await database.drop();
    }
  },
};

interface Started {
  accountId: number;
  broadcastId: number;
  queued: number;
}

async function startedBroadcast(sql: Sql, client: Client, leads: number): Promise<Started> {
  const { accountId } = await createWorld(sql, { bots: 2, leads });
  const broadcastId = await addBroadcast(sql, accountId);
  await client.startBroadcast({ accountId: BigInt(accountId), broadcastId: BigInt(broadcastId) });
  await sql`VACUUM ANALYZE send`;
  return { accountId, broadcastId, queued: leads };
}

interface Ids {
  accountId: bigint;
  broadcastId: bigint;
}

/** Each with the state that it is made from: 1 running, 3 cancelled, 4 paused. */
const lifeCycleCalls = {
  Pause: { from: 1, call: (client: Client, ids: Ids) => client.pauseBroadcast(ids) },
  Cancel: { from: 1, call: (client: Client, ids: Ids) => client.cancelBroadcast(ids) },
  Reset: { from: 3, call: (client: Client, ids: Ids) => client.resetBroadcast(ids) },
  Delete: { from: 4, call: (client: Client, ids: Ids) => client.deleteBroadcast(ids) },
};
type CallName = keyof typeof lifeCycleCalls;

/** The median of several calls. What each has written is put back after it: none of them touches the ledger's rows. */
async function callOften(sql: Sql, client: Client, one: Started, name: CallName, times: number): Promise<number> {
  const { from, call } = lifeCycleCalls[name];
  const ids = { accountId: BigInt(one.accountId), broadcastId: BigInt(one.broadcastId) };
  const [{ source_id: sourceId }] = (await sql`SELECT source_id FROM broadcast WHERE id = ${one.broadcastId}`) as [
    { source_id: number },
  ];
  await sql`UPDATE broadcast SET state = ${from} WHERE id = ${one.broadcastId}`;
  await sql`CREATE TABLE kept_broadcast AS SELECT * FROM broadcast WHERE id = ${one.broadcastId}`;
  await sql`CREATE TABLE kept_counter AS SELECT * FROM send_counter WHERE source_id = ${sourceId}`;
  const took: number[] = [];
  for (let i = 0; i < times; i++) {
    took.push(await timeMs(() => call(client, ids)));
    await sql.begin(async (tx) => {
      await tx`DELETE FROM broadcast WHERE id = ${one.broadcastId}`;
      await tx`INSERT INTO broadcast SELECT * FROM kept_broadcast`;
      await tx`DELETE FROM send_counter WHERE source_id = ${sourceId}`;
      await tx`INSERT INTO send_counter SELECT * FROM kept_counter`;
      await tx`DELETE FROM retired_source`;
    });
  }
  await sql`DROP TABLE kept_broadcast, kept_counter`;
  return median(took);
}
