import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { SendReason, SendState } from "#services/core/ledger/send.ts";
import { unsubscribeData } from "#services/core/message/render.ts";
import { createBotApi } from "#services/delivery/telegram.ts";
import { setWebhook } from "#services/delivery/webhooks.ts";
import { createLogger } from "#services/platform/log.ts";
import { eventually } from "#test/support/eventually.ts";
import { serveGateway } from "../../gateway/server.ts";
import { createCustomer } from "./customer.ts";
import { createRestApi } from "./rest-api.ts";
import { createStack, type Stack } from "./stack.ts";

let stack: Stack;
let publicUrl: string;
let stopServing: () => Promise<void>;
beforeAll(async () => {
  stack = await createStack();
  const log = createLogger({ service: "gateway", level: "silent" });
  const served = await serveGateway({ gateway: stack.gateway, log, port: 0, host: "127.0.0.1" });
  publicUrl = `http://127.0.0.1:${served.port}`;
  stopServing = () => served.stop();
});
afterAll(async () => {
  await stopServing();
  await stack.stop();
});

/** A customer with a bot whose webhook the Bot API calls, and a broadcast that has reached its three leads. */
async function setup() {
  const customer = await createCustomer(stack, { flows: true });
  const api = createBotApi({ apiRoot: stack.sandbox.url });
  const openSecret = (botId: number, sealed: string) => stack.secretBox.decrypt(sealed, `webhook:${botId}`);
  await setWebhook({ sql: stack.sql, api, openToken: () => customer.botToken, openSecret, publicUrl }, customer.botId);
  const rest = createRestApi(stack.gateway, customer.session);
  const id = await rest.draft({ text: "Hi", statuses: 31 });
  await rest.ok("POST broadcast/start", { id });
  await customer.untilState(id, 2);
  const audience = async () => (await rest.ok("GET broadcast/get", { id })).total;
  return { customer, rest, id, audience };
}

describe("the webhook, from the Bot API through the gateway", () => {
  test("ends all messages of the campaign to who taps Unsubscribe, at once, and says so to them", async () => {
    const { customer, rest, id, audience } = await setup();
    const [chat, lead] = [customer.firstChat, customer.leadIds[0]!];
    await rest.ok("POST broadcast/reset", { id });
    await customer.hold();
    await rest.ok("POST broadcast/start", { id });

    const tapped = await stack.sandbox.control.tap(customer.botNumber, chat, unsubscribeData(customer.campaignId));

    expect(tapped).toMatchObject({
      delivered: true,
      status: 200,
      executed: { method: "answerCallbackQuery", status: 200 },
    });
    await customer.flow();
    await customer.untilState(id, 2);
    const [row] = await stack.sql`
      SELECT s.state, s.reason FROM send s JOIN broadcast b USING (source_id) WHERE b.id = ${id} AND s.lead_id = ${lead}`;
    expect(row).toEqual({ state: SendState.dropped, reason: SendReason.optedOut });
    expect((await stack.sandbox.control.messages({ bot: customer.botNumber, chat })).length).toBe(1);
    expect(await audience()).toBe(2);
    expect((await stack.sandbox.control.callbackAnswers(customer.botNumber)).length).toBe(1);
  });

  test("takes a chat that blocks the bot out of audiences, and back in when it unblocks", async () => {
    const { customer, audience } = await setup();
    const chat = customer.firstChat + 1;

    expect(await stack.sandbox.control.block(customer.botNumber, chat)).toMatchObject({ delivered: true, status: 200 });
    await eventually(async () => (await audience()) === 2);
    expect(await stack.sandbox.control.unblock(customer.botNumber, chat)).toMatchObject({ delivered: true });
    await eventually(async () => (await audience()) === 3);
  });

  test("turns away who does not know the bot's secret", async () => {
    const { customer, audience } = await setup();
    const callback_query = {
      id: "1",
      from: { id: customer.firstChat },
      message: { chat: { id: customer.firstChat } },
      data: unsubscribeData(customer.campaignId),
    };
    const call = (secret: Record<string, string>, bot: number) =>
      fetch(`${publicUrl}/telegram/${bot}`, {
        method: "POST",
        headers: { "content-type": "application/json", ...secret },
        body: JSON.stringify({ update_id: 1, callback_query }),
      });

    const wrong = { "x-telegram-bot-api-secret-token": "guessed" };
    const replies = [await call({}, customer.botId), await call(wrong, customer.botId), await call(wrong, 99_999_999)];

    expect(replies.map((reply) => reply.status)).toEqual([403, 403, 403]);
    expect(await Promise.all(replies.map((reply) => reply.text()))).toEqual(["", "", ""]);
    expect(await audience()).toBe(3);
  });
});
