/**
 * A worker as they are commonly written, for comparison: takes a message, sends, marks, acks; what was not acked comes again.
 * It promises "at least once". Run as a process with DATABASE_URL, NATS_URL and TELEGRAM_API_ROOT.
 */
import { connect } from "nats";
import postgres from "postgres";
import { NAIVE_CONSUMER, NAIVE_STREAM, naiveBody } from "./naive-queue.ts";

const IN_FLIGHT = 40;
const RETRIES = 3;

const sql = postgres(process.env.DATABASE_URL!, { max: 4, onnotice: () => {} });
const nc = await connect({ servers: process.env.NATS_URL!, maxReconnectAttempts: -1, reconnectTimeWait: 100 });

async function send(chat: number): Promise<boolean> {
  for (let attempt = 1; attempt <= RETRIES; attempt++) {
    const reply = await fetch(`${process.env.TELEGRAM_API_ROOT}/bot7000001:token-of-a-bot-in-the-tests/sendMessage`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ chat_id: chat, text: naiveBody }),
    }).catch(() => undefined);
    // A 5xx and a cut connection are tried again, as the retry plug-ins of Bot API clients do.
    if (reply?.ok) return true;
    if (reply !== undefined && reply.status < 500 && reply.status !== 429) return false;
  }
  throw new Error("tried often enough");
}

async function work(): Promise<void> {
  for (;;) {
    try {
      const consumer = await nc.jetstream().consumers.get(NAIVE_STREAM, NAIVE_CONSUMER);
      for await (const message of await consumer.fetch({ max_messages: 1, expires: 2_000 })) {
        const chat = Number(message.string());
        const [row] = await sql`SELECT state FROM naive WHERE chat = ${chat}`;
        if (row?.state === 0) {
          const accepted = await send(chat);
          await sql`UPDATE naive SET state = ${accepted ? 2 : 3} WHERE chat = ${chat}`;
        }
        message.ack();
      }
    } catch {
      // Not acked: it comes again.
      await Bun.sleep(100);
    }
  }
}

process.stdout.write('{"msg":"ready","port":1}\n');
await Promise.all(Array.from({ length: IN_FLIGHT }, work));
