/**
 * How many plain sendMessage calls a second the sandbox answers. The sandbox runs in a process of its own, as it does
 * when it is the far end of a delivery benchmark; the caller is plain fetch, with 64 calls in flight.
 */
import { createSandboxClient } from "#services/sandbox/client.ts";
import { unlimited } from "#services/sandbox/settings.ts";

const calls = Number(process.env.BENCH_CALLS || 100_000);
const inFlight = 64;
const token = `1001:${"a".repeat(35)}`;

const main = new URL("../services/sandbox/main.ts", import.meta.url).pathname;
const env = { ...process.env, SANDBOX_PORT: "0", SANDBOX_CONTROL_PORT: "0" };
const child = Bun.spawn([process.execPath, main], { env, stdout: "pipe", stderr: "inherit" });

try {
  const url = await firstAddress(child.stdout);
  const control = createSandboxClient(url);
  await control.configure(unlimited);
  await send(`${url}/bot${token}/sendMessage`, Math.ceil(calls / 10));
  await control.clear();
  const startedMs = performance.now();
  await send(`${url}/bot${token}/sendMessage`, calls);
  const seconds = (performance.now() - startedMs) / 1_000;
  const { accepted, distinctChats } = await control.totals();
  const { busiestSecond } = await control.bot(1001);
  console.log(`${Math.round(calls / seconds)} calls/s over ${seconds.toFixed(1)} s, ${inFlight} in flight`);
  console.log(`recorded ${accepted} messages to ${distinctChats} chats, busiest second ${busiestSecond.accepted}`);
} finally {
  child.kill();
}

async function send(address: string, count: number): Promise<void> {
  let next = 0;
  const headers = { "content-type": "application/json" };
  const replyMarkup = { inline_keyboard: [[{ text: "Open", url: "https://example.com/l?click=1" }]] };
  async function worker(): Promise<void> {
    while (next < count) {
      const body = JSON.stringify({ chat_id: ++next, text: "We miss you: 20 % off today.", reply_markup: replyMarkup });
      const reply = await fetch(address, { method: "POST", headers, body });
      if (!reply.ok) throw new Error(`The sandbox answered ${reply.status}.`);
      await reply.text();
    }
  }
  await Promise.all(Array.from({ length: inFlight }, worker));
}

async function firstAddress(output: ReadableStream<Uint8Array>): Promise<string> {
  let printed = "";
  for await (const chunk of output) {
    printed += new TextDecoder().decode(chunk);
    const address = /http:\/\/[\d.:]+/.exec(printed)?.[0];
    if (address && printed.includes("\n")) return address;
  }
  throw new Error("The sandbox did not start.");
}
