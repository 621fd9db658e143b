/** Publishes what nobody should have published: doubles, lies, echoes of the past and noise. */
import { create, toBinary } from "@bufbuild/protobuf";
import { connect, type NatsConnection } from "nats";
import { SendJobSchema, UnsentSchema } from "#gen/leadcast/delivery/v1/send_job_pb.ts";
import type { Cluster } from "./cluster.ts";
import type { Random } from "./random.ts";

export interface Forger {
  /** Publishes a handful of each kind. Does nothing while NATS or Postgres is away. */
  disturb(): Promise<void>;
  stop(): Promise<void>;
}

interface AnyJob {
  kind: number;
  botId: number;
  sourceId: number;
  leadId: number;
  entry: number;
}

const SHARDS = 32;
const SUBJECT_OF_KIND: Record<number, string> = { 1: "broadcast", 2: "follow_up" };

export async function createForger({ nats, sql }: Cluster, random: Random): Promise<Forger> {
  const nc = await connect({ servers: nats.url, maxReconnectAttempts: -1, reconnectTimeWait: 100, reconnectJitter: 0 });
  return {
    disturb: async () => {
      const jobs = await sql<AnyJob[]>`
        SELECT kind, bot_id AS "botId", source_id AS "sourceId", lead_id AS "leadId", entry FROM send
        WHERE lead_id % 101 = ${random.int(0, 100)} ORDER BY lead_id, source_id LIMIT 40`.catch(() => []);
      if (nc.isClosed()) return;
      for (const job of jobs) forge(nc, job, random);
      for (let i = 0; i < 5; i++)
        nc.publish(anySubject(random), crypto.getRandomValues(new Uint8Array(random.int(0, 64))));
    },
    stop: () => nc.close(),
  };
}

/** The job itself once more, a lie about it, or a hint that it was not sent. */
function forge(nc: NatsConnection, job: AnyJob, random: Random): void {
  const lie = random.weighted({ none: 4, kind: 1, bot: 1, lead: 1, entry: 1, source: 1, subject: 1, hint: 2 });
  const told = { ...job };
  if (lie === "kind") told.kind = 3 - job.kind;
  if (lie === "bot") told.botId = random.int(1, 40);
  if (lie === "lead") told.leadId = random.int(1, 100_000);
  if (lie === "entry") told.entry = random.int(0, 9);
  if (lie === "source") told.sourceId = random.int(1, 30);
  const message = create(SendJobSchema, {
    kind: told.kind,
    botId: BigInt(told.botId),
    sourceId: BigInt(told.sourceId),
    leadId: BigInt(told.leadId),
    entry: told.entry,
  });
  const shard = told.botId % SHARDS;
  if (lie === "hint") {
    nc.publish(`leadcast.unsent.v1.${shard}`, toBinary(UnsentSchema, create(UnsentSchema, { jobs: [message] })));
  } else {
    const subject = lie === "subject" ? anySubject(random) : `leadcast.send.v1.${shard}.${SUBJECT_OF_KIND[told.kind]}`;
    nc.publish(subject, toBinary(SendJobSchema, message));
  }
}

function anySubject(random: Random): string {
  return `leadcast.send.v1.${random.int(0, SHARDS - 1)}.${random.pick(["broadcast", "follow_up"])}`;
}
