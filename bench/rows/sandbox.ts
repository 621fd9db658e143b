/** How many plain sendMessage calls a second the sandbox answers, beside the leanest Bot API: what its checks cost. */
import { createSandboxClient } from "#services/local/sandbox/client.ts";
import { unlimited } from "#services/local/sandbox/settings.ts";
import { startChild } from "../child.ts";
import { inFlight, interleave } from "../measure.ts";
import type { Row } from "../row.ts";
import { messageText, tokenOf } from "../world.ts";

const IN_FLIGHT = 64;

export const sandbox: Row = {
  name: "sandbox",
  onlyByName: true,
  limits:
    "Processor time of one process, which the caller shares: parsing and checking each call, and keeping its record.",
  run: async ({ quick, rounds, say }) => {
    const calls = quick ? 200 : 60_000;
    const [checked, lean] = await Promise.all([startChild("sandbox"), startChild("bot-api")]);
    try {
      const [url, leanUrl] = await Promise.all([checked.ask<string>("url"), lean.ask<string>("url")]);
      const control = createSandboxClient(url);
      await control.configure(unlimited);
      const numbers = await interleave(rounds, {
        product: async () => {
          await control.clear();
          const rate = await callRate(url, calls);
          const { accepted } = await control.totals();
          if (accepted !== calls) throw new Error(`The sandbox accepted ${accepted} of ${calls}.`);
          say(`sandbox: ${Math.round(rate)}/s`);
          return rate;
        },
        floor: () => callRate(leanUrl, calls),
      });
      return [
        {
          name: `sandbox, sendMessage, ${IN_FLIGHT} in flight`,
          unit: "requests/s",
          product: numbers.product,
          floor: { name: "a Bot API that checks nothing", numbers: numbers.floor },
        },
      ];
    } finally {
      await Promise.all([checked.stop(), lean.stop()]);
    }
  },
};

async function callRate(url: string, calls: number): Promise<number> {
  const address = `${url}/bot${tokenOf(1)}/sendMessage`;
  const headers = { "content-type": "application/json" };
  const reply_markup = { inline_keyboard: [[{ text: "Open", url: "https://example.com/l?click=1" }]] };
  const startedMs = performance.now();
  await inFlight(calls, IN_FLIGHT, async (i) => {
    const body = JSON.stringify({ chat_id: i + 1, text: messageText, reply_markup });
    const reply = await fetch(address, { method: "POST", headers, body });
    if (!reply.ok) throw new Error(`The Bot API answered ${reply.status}.`);
    await reply.text();
  });
  return (calls / (performance.now() - startedMs)) * 1000;
}
