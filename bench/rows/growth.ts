/** What one message costs in processor time as the ledger and the number of bots grow. */
import type { Figure } from "../figure.ts";
import { until } from "../measure.ts";
import { liftedPerSecond, perMessage, secretBoxOf, startPipeline } from "../pipeline.ts";
import type { Row, RowContext } from "../row.ts";
import { watchCpu } from "../usage.ts";
import { addBroadcast, countSettled, createWorld } from "../world.ts";

/** Sent at each point; the first tenth of a larger ledger's is not measured. */
const MESSAGES = 30_000;

export const growth: Row = {
  name: "growth",
  onlyByName: true,
  limits: `\
Each point sends ${MESSAGES.toLocaleString("en-US")} messages, or all of a smaller ledger, from the beginning of a broadcast of that size; the cost is
processor time of all our processes, Postgres and \`nats-server\`, which a busy machine changes less than the rate. Flat from
100,000 to 5,000,000 rows and from 10 to 1,000 bots; the smallest ledger is over before delivery's code is compiled, and with 5,000
bots batches of relay and \`nats-server\` are smaller.`,
  run: async (context) => {
    const ledgers = context.quick ? [200, 400] : [10_000, 100_000, 1_000_000, 5_000_000];
    const bots = context.quick ? [2, 8] : [10, 100, 1_000, 5_000];
    const figures: Figure[] = [];
    for (const leads of ledgers) figures.push(...(await measure(context, { leads, bots: context.quick ? 2 : 10 })));
    for (const count of bots) {
      figures.push(...(await measure(context, { leads: context.quick ? 200 : 100_000, bots: count })));
    }
    return figures;
  },
};

async function measure({ ground, quick, say }: RowContext, size: { leads: number; bots: number }): Promise<Figure[]> {
  const { leads, bots } = size;
  const pipeline = await startPipeline({ ground, lifted: true, bots });
  const { sql, broadcast } = pipeline;
  try {
    const secretBox = secretBoxOf(ground);
    const { accountId } = await createWorld(sql, { bots, leads, messagesPerSecond: liftedPerSecond(bots), secretBox });
    const ids = { accountId: BigInt(accountId), broadcastId: BigInt(await addBroadcast(sql, accountId)) };
    await broadcast.startBroadcast(ids);
    const sent = async () => (await countSettled(sql, Number(ids.broadcastId))).settled;
    const messages = Math.min(leads, quick ? leads : MESSAGES);
    const warm = leads > messages ? messages / 10 : 0;
    await until("warm", async () => (await sent()) >= warm);
    const before = await sent();
    const startedMs = performance.now();
    const cpu = watchCpu(pipeline.watched);
    await until("measured", async () => (await sent()) >= messages);
    const counted = Math.max(1, (await sent()) - before);
    const used = cpu();
    const seconds = (performance.now() - startedMs) / 1000;
    used.delete("Bot API");
    const total = [...used.values()].reduce((sum, one) => sum + one, 0);
    const name = `a message at ${leads} rows on ${bots} bots`;
    say(`${name}: ${Math.round(counted / seconds)}/s`);
    if (leads > messages) await broadcast.cancelBroadcast(ids);
    return [{ name, unit: "µs", product: [(total / counted) * 1e6], notes: perMessage(used, counted) }];
  } finally {
    await pipeline.stop();
  }
}
