/** The floor of delivery: grammY's Api in a loop, with nothing that would survive a crash. */
import { Api } from "grammy";
import { answerParent, childOptions } from "../child.ts";
import { inFlight, timeMs } from "../measure.ts";
import { messageText, tokenOf } from "../world.ts";

const { apiRoot } = childOptions<{ apiRoot: string }>();

/** The same message as delivery's. */
const reply_markup = {
  inline_keyboard: [
    [{ text: "Claim", url: "https://example.com/back?click=click1" }],
    [{ text: "🚫 Unsubscribe", callback_data: "unsubscribe:1" }],
  ],
};

export interface LoopOptions {
  count: number;
  bots: number;
  atOnce: number;
}

async function send({ count, bots, atOnce }: LoopOptions): Promise<number> {
  const apis = Array.from({ length: bots }, (_, i) => new Api(tokenOf(i + 1), { apiRoot }));
  return await timeMs(() =>
    inFlight(count, atOnce, (i) => apis[i % bots]!.sendMessage(500_000_000 + i, messageText, { reply_markup })),
  );
}

answerParent({ send });
