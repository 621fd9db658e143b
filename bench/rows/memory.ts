/** Delivery's memory and JetStream's store through the whole of a large broadcast with its pace lifted. */
import { until } from "../measure.ts";
import { liftedPerSecond, secretBoxOf, startPipeline } from "../pipeline.ts";
import type { Row } from "../row.ts";
import { folderBytes, residentBytes } from "../usage.ts";
import { addBroadcast, countSettled, createWorld } from "../world.ts";

const SAMPLE_MS = 250;
const MEGABYTE = 1_000_000;

export const memory: Row = {
  name: "memory",
  onlyByName: true,
  limits: `\
Delivery keeps the jobs that it has pulled and the sends on the wire, both bounded, and the stream keeps at most the windows; its
files are at most the stream's 16 MB of messages and what its consumers know of them. With 20 bots; with 200, which have ten times as
many jobs waiting, delivery stays below 190 MB. Without the bound on its heap it took 270 and 310 MB.`,
  run: async ({ ground, quick, say }) => {
    const leads = quick ? 500 : 1_000_000;
    const bots = quick ? 2 : 20;
    const pipeline = await startPipeline({ ground, lifted: true, bots });
    const { sql, broadcast, delivery, broadcastChild, nats } = pipeline;
    try {
      const secretBox = secretBoxOf(ground);
      const { accountId } = await createWorld(sql, {
        bots,
        leads,
        messagesPerSecond: liftedPerSecond(bots),
        secretBox,
      });
      const broadcastId = await addBroadcast(sql, accountId);
      await broadcast.startBroadcast({ accountId: BigInt(accountId), broadcastId: BigInt(broadcastId) });
      const most = { delivery: 0, relay: 0, store: 0 };
      let settled = 0;
      await until(
        "all sent",
        async () => {
          most.delivery = Math.max(most.delivery, residentBytes(delivery!.pid));
          most.relay = Math.max(most.relay, residentBytes(broadcastChild.pid));
          most.store = Math.max(most.store, folderBytes(nats.storeDir));
          const before = settled;
          ({ settled } = await countSettled(sql, broadcastId));
          if (Math.floor(settled / 100_000) > Math.floor(before / 100_000)) {
            say(`${settled} settled; at most ${JSON.stringify(most)} bytes so far`);
          }
          return settled === leads;
        },
        { pollMs: SAMPLE_MS, timeoutMs: 3_600_000 },
      );
      const at = `through ${leads} leads`;
      return [
        figure(`delivery's resident memory ${at}`, most.delivery, 150),
        figure(`JetStream's store ${at}`, most.store, 20),
        figure(`broadcast process's resident memory ${at}`, most.relay),
      ];
    } finally {
      await pipeline.stop();
    }
  },
};

function figure(name: string, bytes: number, limit?: number) {
  const goal = limit === undefined ? undefined : ({ of: "value", is: "at most", limit } as const);
  return { name, unit: "MB" as const, product: [bytes / MEGABYTE], goal };
}
