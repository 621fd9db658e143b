/** From Start's reply to the first message at the Bot API, with everything at its usual pace. */
import { interleave, until } from "../measure.ts";
import { type Pipeline, secretBoxOf, startPipeline } from "../pipeline.ts";
import type { Row } from "../row.ts";
import { addBroadcast, createWorld, emptyLedger, type World } from "../world.ts";

export const firstMessage: Row = {
  name: "first-message",
  limits: `\
Waiting: the relay looks for new runs every 100 ms, publishes the window of each bot, and delivery claims at once what its pace
allows.`,
  run: async ({ ground, quick, rounds, say }) => {
    const leads = quick ? 500 : 1_000_000;
    const bots = quick ? 2 : 10;
    const pipeline = await startPipeline({ ground, lifted: false, bots });
    try {
      const world = await createWorld(pipeline.sql, { bots, leads, secretBox: secretBoxOf(ground) });
      const { product } = await interleave(rounds, {
        product: async () => {
          const ms = await startOnce(pipeline, world);
          say(`first message: ${Math.round(ms)} ms after Start's reply`);
          return ms;
        },
      });
      return [
        {
          name: `first message after Start's reply, ${leads} leads`,
          unit: "ms",
          product,
          goal: { of: "value", is: "at most", limit: 1000 },
        },
      ];
    } finally {
      await pipeline.stop();
    }
  },
};

/** Leaves the broadcast cancelled, with nothing on the wire. */
async function startOnce({ sql, botApi, broadcast }: Pipeline, { accountId }: World): Promise<number> {
  await emptyLedger(sql);
  await botApi.ask("forget");
  const ids = { accountId: BigInt(accountId), broadcastId: BigInt(await addBroadcast(sql, accountId)) };
  await broadcast.startBroadcast(ids);
  const repliedMs = performance.timeOrigin + performance.now();
  const first = async () => (await botApi.ask<{ firstAtMs: number }>("received")).firstAtMs;
  await until("first message", async () => (await first()) > 0, { pollMs: 5, timeoutMs: 30_000 });
  await broadcast.cancelBroadcast(ids);
  await until("nothing on the wire", async () => (await sql`SELECT FROM send WHERE state = 1 LIMIT 1`).length === 0);
  return (await first()) - repliedMs;
}
