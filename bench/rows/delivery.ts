/** Delivery with its pace lifted, beside a bare loop of grammY's Api against the same Bot API. */

import { startChild } from "../child.ts";
import type { Figure } from "../figure.ts";
import { interleave, timeMs, until } from "../measure.ts";
import { liftedPerSecond, type Pipeline, perMessage, secretBoxOf, startPipeline } from "../pipeline.ts";
import type { LoopOptions } from "../processes/bare-loop.ts";
import type { Row, RowContext } from "../row.ts";
import { watchCpu } from "../usage.ts";
import { addBroadcast, countSettled, createWorld, emptyLedger, type World } from "../world.ts";

/** Where the bare loop is fastest against this Bot API. */
const LOOP_IN_FLIGHT = 64;

export const delivery: Row = {
  name: "delivery",
  limits: `\
Processor time: delivery, Postgres, \`nats-server\`, the relay and the Bot API share the cores that the bare loop and the Bot API
have to themselves; the line below each figure says who used how much. The floor takes some 48 µs of both cores a message, so half
of it leaves 96. The durable steps alone, Postgres, \`nats-server\` and the relay, take 69 of them with one bot and 100 with 200, before
delivery has read, claimed, sent and settled anything. Delivery's own profile is flat: a quarter is the HTTP request, a quarter
postgres.js, a tenth the NATS client; nothing else is above 3 %. A claim of up to 500 sends is eight statements in four round trips
between BEGIN and COMMIT, a settle two in two.`,
  run: async (context) => [...(await sendAll(context, 1)), ...(await sendAll(context, context.quick ? 3 : 200))],
};

async function sendAll({ ground, quick, rounds, say }: RowContext, bots: number): Promise<Figure[]> {
  const leads = quick ? 300 : 60_000;
  const pipeline = await startPipeline({ ground, lifted: true, bots });
  const loop = await startChild("bare-loop", { apiRoot: pipeline.apiRoot });
  try {
    const world = await createWorld(pipeline.sql, {
      bots,
      leads,
      messagesPerSecond: liftedPerSecond(bots),
      secretBox: secretBoxOf(ground),
    });
    const idle: number[] = [];
    let notes = "";
    const numbers = await interleave(rounds, {
      product: async () => {
        const cpu = watchCpu(pipeline.watched);
        const seconds = (await sendOnce(pipeline, world, leads)) / 1000;
        notes = perMessage(cpu(), leads);
        idle.push((await pipeline.delivery!.ask<number>("idleShare")) * 100);
        say(`delivery, ${bots} bots: ${Math.round(leads / seconds)}/s`);
        return leads / seconds;
      },
      floor: async () => {
        const options: LoopOptions = { count: leads, bots, atOnce: LOOP_IN_FLIGHT };
        const rate = (leads / (await loop.ask<number>("send", options))) * 1000;
        say(`bare loop, ${bots} bots: ${Math.round(rate)}/s`);
        return rate;
      },
    });
    return [
      {
        name: `delivery, ${leads} leads on ${bots} ${bots === 1 ? "bot" : "bots"}`,
        unit: "messages/s",
        product: numbers.product,
        floor: { name: "bare grammY loop", numbers: numbers.floor },
        goal: { of: "ratio", is: "at least", limit: 0.5 },
        notes,
      },
      {
        name: `relay, lane has rows and nothing to send, ${bots} ${bots === 1 ? "bot" : "bots"}`,
        unit: "%",
        product: idle.slice(-rounds),
        goal: { of: "value", is: "at most", limit: 1 },
      },
    ];
  } finally {
    await loop.stop();
    await pipeline.stop();
  }
}

/** From Start's reply until every send is settled; nobody may be missing. */
async function sendOnce(pipeline: Pipeline, { accountId }: World, leads: number): Promise<number> {
  const { sql, botApi, broadcast } = pipeline;
  await emptyLedger(sql);
  await botApi.ask("forget");
  const broadcastId = await addBroadcast(sql, accountId);
  await broadcast.startBroadcast({ accountId: BigInt(accountId), broadcastId: BigInt(broadcastId) });
  const ms = await timeMs(() =>
    until("all sent", async () => (await countSettled(sql, broadcastId)).settled === leads),
  );
  const { accepted } = await botApi.ask<{ accepted: number }>("received");
  const { sent } = await countSettled(sql, broadcastId);
  if (sent !== leads || accepted !== leads) {
    const reasons = await sql`SELECT state, reason, count(*)::int AS sends FROM send WHERE state <> 2 GROUP BY 1, 2`;
    throw new Error(`Of ${leads}, ${sent} are sent and ${accepted} accepted: ${JSON.stringify(reasons)}.`);
  }
  return ms;
}
