/** The at-least-once worker under the same kills: what is gained by everything else that this repository does. */
import { AckPolicy, connect, RetentionPolicy } from "nats";
import { eventually } from "../support/eventually.ts";
import { startService } from "../support/service-process.ts";
import { scriptAnswers } from "./answers.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import { NAIVE_CONSUMER, NAIVE_STREAM, NAIVE_SUBJECT } from "./naive-queue.ts";
import { createRandom } from "./random.ts";

export interface BaselineOptions {
  seed: number;
  kills: number;
  leads: number;
  say: (line: string) => void;
}

const ACK_WAIT_NANOS = 5_000 * 1_000_000;

export async function runBaseline(options: BaselineOptions): Promise<boolean> {
  const cluster = await startCluster({ delivery: 1, broadcast: 1, ownPostgres: true });
  try {
    await fill(cluster, options);
    const kills = await killWhileItWorks(cluster, options);
    await report(cluster, options, kills);
    return true;
  } finally {
    await cluster.stop();
  }
}

async function fill({ sql, nats, sandbox }: Cluster, { seed, leads }: BaselineOptions): Promise<void> {
  const chats = Array.from({ length: leads }, (_, i) => i + 1);
  await scriptAnswers(sandbox, createRandom(seed, "answers"), chats, [10, 60]);
  await sql`CREATE TABLE naive (chat bigint PRIMARY KEY, state smallint NOT NULL DEFAULT 0)`;
  await sql`INSERT INTO naive (chat) SELECT generate_series(1, ${leads}::int)`;
  const nc = await connect({ servers: nats.url });
  const jsm = await nc.jetstreamManager();
  await jsm.streams.add({ name: NAIVE_STREAM, subjects: [NAIVE_SUBJECT], retention: RetentionPolicy.Workqueue });
  await jsm.consumers.add(NAIVE_STREAM, {
    durable_name: NAIVE_CONSUMER,
    ack_policy: AckPolicy.Explicit,
    ack_wait: ACK_WAIT_NANOS,
    max_ack_pending: 1_000,
  });
  await Promise.all(chats.map((chat) => nc.jetstream().publish(NAIVE_SUBJECT, String(chat))));
  await nc.close();
}

async function killWhileItWorks(cluster: Cluster, { seed, kills }: BaselineOptions): Promise<number> {
  const random = createRandom(seed, "baseline");
  const env = cluster.environmentOf("delivery");
  const start = () => startService("test/chaos/naive-worker.ts", env);
  let worker = await start();
  let killed = 0;
  while (killed < kills && (await waiting(cluster)) > 0) {
    await Bun.sleep(random.int(100, 900));
    if (random.chance(0.85)) {
      await worker.kill9();
      worker = await start();
    } else {
      await cluster.nats.kill9();
      await cluster.nats.restart();
    }
    killed++;
  }
  await eventually(async () => (await waiting(cluster)) === 0, { timeoutMs: 300_000 });
  await worker.kill9();
  return killed;
}

async function waiting({ sql }: Cluster): Promise<number> {
  const [row] = await sql<{ n: number }[]>`SELECT count(*)::int AS n FROM naive WHERE state = 0`;
  return row!.n;
}

async function report({ sql, sandbox }: Cluster, options: BaselineOptions, kills: number): Promise<void> {
  const { accepted, distinctChats, mostPerChat } = await sandbox.totals();
  const [row] = await sql<{ sent: number; failed: number }[]>`
    SELECT count(*) FILTER (WHERE state = 2)::int AS sent, count(*) FILTER (WHERE state = 3)::int AS failed FROM naive`;
  const twice = await sandbox.chatsOver(1);
  options.say(
    `baseline, seed ${options.seed}: ${kills} kills over ${options.leads} leads: ${accepted} accepted for ${distinctChats} ` +
      `chats, ${twice.length} chats messaged more than once (at most ${mostPerChat} times), ${row!.sent} marked sent, ${row!.failed} failed`,
  );
}
