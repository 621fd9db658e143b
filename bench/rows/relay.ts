/** How fast the relay publishes when nothing holds it back, beside bare publishes with acks of the same messages. */
import { connect, type StreamState } from "nats";
import { SendKind } from "#services/core/ledger/send.ts";
import { encodeJob } from "#services/core/queue/jobs.ts";
import { STREAM, sendSubject } from "#services/core/queue/subjects.ts";
import type { Figure } from "../figure.ts";
import { inFlight, interleave, until } from "../measure.ts";
import { liftedPerSecond, type Pipeline, startPipeline } from "../pipeline.ts";
import type { Row, RowContext } from "../row.ts";
import { addBroadcast, createWorld, emptyLedger, type World } from "../world.ts";

/** Where bare publishes are fastest. */
const PUBLISHES_IN_FLIGHT = 1024;

export const relay: Row = {
  name: "relay",
  limits: `\
Processor time of the relay and of \`nats-server\`. It asks for one ack in 32 messages, the floor for one each: that is where it gains.
Reading the ledger costs it one statement a tick for all lanes. The share of time in which a lane has rows and nothing to send
is measured where there is somebody to send them: below delivery.`,
  run: async (context) => [await publishAll(context, 1), await publishAll(context, context.quick ? 3 : 200)],
};

async function publishAll(context: RowContext, bots: number): Promise<Figure> {
  const { ground, quick, rounds, say } = context;
  const messages = quick ? 300 : 40_000;
  // Every lane's window holds all its rows, so that the relay has published everything when it has published its windows.
  const relayOptions = { tickMs: 5, maxWindow: messages };
  const pipeline = await startPipeline({ ground, lifted: true, bots, withDelivery: false, relay: relayOptions });
  const nc = await connect({ servers: pipeline.nats.url });
  const jsm = await nc.jetstreamManager();
  try {
    const world = await createWorld(pipeline.sql, { bots, leads: messages, messagesPerSecond: liftedPerSecond(bots) });
    const state = async () => (await jsm.streams.info(STREAM)).state;
    const numbers = await interleave(rounds, {
      product: async () => {
        await emptyLedger(pipeline.sql);
        await jsm.streams.purge(STREAM);
        const rate = await publishThroughRelay(pipeline, world, messages, state);
        say(`relay, ${bots} bots: ${Math.round(rate)}/s`);
        return rate;
      },
      floor: async () => {
        await emptyLedger(pipeline.sql);
        await jsm.streams.purge(STREAM);
        const js = nc.jetstream();
        await inFlight(messages, PUBLISHES_IN_FLIGHT, async (i) => {
          const botId = world.botIds[i % bots]!;
          const job = { kind: SendKind.broadcast, botId, sourceId: 1, leadId: i + 1, entry: 0 };
          await js.publish(sendSubject(botId % 32, job.kind), encodeJob(job));
        });
        return publishRate(await state());
      },
    });
    return {
      name: `relay, ${bots} ${bots === 1 ? "lane" : "lanes"}`,
      unit: "messages/s",
      product: numbers.product,
      floor: { name: "bare publish with acks", numbers: numbers.floor },
    };
  } finally {
    await nc.close();
    await pipeline.stop();
  }
}

async function publishThroughRelay(
  { sql, broadcast }: Pipeline,
  { accountId }: World,
  messages: number,
  state: () => Promise<StreamState>,
): Promise<number> {
  const broadcastId = await addBroadcast(sql, accountId);
  await broadcast.startBroadcast({ accountId: BigInt(accountId), broadcastId: BigInt(broadcastId) });
  await until("all published", async () => (await state()).messages >= messages);
  return publishRate(await state());
}

/** Between the times at which the stream stored the first message and the last. */
function publishRate({ messages, first_ts, last_ts }: StreamState): number {
  return (messages / (Date.parse(last_ts) - Date.parse(first_ts))) * 1000;
}
