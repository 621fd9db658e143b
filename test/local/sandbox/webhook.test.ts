import { describe, expect, test } from "bun:test";
import { failureOf, startSandbox } from "./support.ts";

const stop = { inline_keyboard: [[{ text: "Stop", callback_data: "stop:1" }]] };

interface Received {
  secret: string | null;
  update: Record<string, { id?: string; data?: string } & Record<string, unknown>>;
}

/** A sandbox and a webhook on a port of its own, which answers with what `reply` gives. */
async function setup(reply: (received: Received) => Response = () => new Response("ok")) {
  const world = await startSandbox();
  const received: Received[] = [];
  const hook = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      const update = (await request.json()) as Received["update"];
      received.push({ secret: request.headers.get("x-telegram-bot-api-secret-token"), update });
      return reply(received.at(-1)!);
    },
  });
  const url = `http://127.0.0.1:${hook.port}/telegram/1`;
  await world.api(1).setWebhook(url, { secret_token: "s3cret_-" });
  const dispose = async () => {
    await hook.stop(true);
    await world.sandbox.stop();
  };
  return { ...world, received, url, [Symbol.asyncDispose]: dispose };
}

describe("a tap", () => {
  test("brings a callback_query with the secret, and runs the answer in the HTTP reply", async () => {
    await using world = await setup(({ update }) =>
      Response.json({
        method: "answerCallbackQuery",
        callback_query_id: update.callback_query?.id,
        text: "Done",
        show_alert: true,
      }),
    );
    await world.api(1).sendMessage(10, "hello", { reply_markup: stop });
    const delivery = await world.control.tap(1, 10, "stop:1");
    expect(delivery).toMatchObject({ delivered: true, status: 200 });
    expect(delivery.executed).toEqual({ method: "answerCallbackQuery", status: 200 });
    const [{ secret, update }] = world.received as [Received];
    expect(secret).toBe("s3cret_-");
    expect(update.callback_query).toMatchObject({ data: "stop:1", from: { id: 10 } });
    expect(update.callback_query?.message).toMatchObject({ message_id: 1, text: "hello", reply_markup: stop });
    const answer = { bot: 1, callback_query_id: update.callback_query?.id, text: "Done", show_alert: true };
    expect(await world.control.callbackAnswers(1)).toEqual([{ ...answer, via: "webhook" } as never]);
  });

  test("can be answered by a call, once", async () => {
    await using world = await setup();
    await world.api(1).sendMessage(10, "hello", { reply_markup: stop });
    await world.control.tap(1, 10, "stop:1");
    const id = world.received[0]!.update.callback_query!.id!;
    await world.api(1).answerCallbackQuery(id, { text: "ok" });
    expect(await failureOf(world.api(1).answerCallbackQuery(id))).toMatchObject({ error_code: 400 });
    expect(await world.control.callbackAnswers()).toMatchObject([{ callback_query_id: id, via: "call", text: "ok" }]);
  });

  test("takes an older message when asked, and needs one", async () => {
    await using world = await setup();
    expect(await world.control.tap(1, 10, "x")).toMatchObject({ delivered: false });
    await world.api(1).sendMessage(10, "first");
    await world.api(1).sendMessage(10, "second");
    await world.control.tap(1, 10, "x", 1);
    await world.control.tap(1, 10, "x");
    const texts = world.received.map(({ update }) => update.callback_query?.message);
    expect(texts).toMatchObject([{ text: "first" }, { text: "second" }]);
  });
});

describe("a block", () => {
  test("refuses sends and tells the webhook, until it is lifted", async () => {
    await using world = await setup();
    expect(await world.control.block(1, 10)).toMatchObject({ delivered: true, status: 200 });
    const description = "Forbidden: bot was blocked by the user";
    expect(await failureOf(world.api(1).sendMessage(10, "hi"))).toMatchObject({ error_code: 403, description });
    await world.api(2).sendMessage(10, "another bot");
    await world.control.unblock(1, 10);
    await world.api(1).sendMessage(10, "hi again");
    const statuses = world.received.map(({ update }) => update.my_chat_member?.new_chat_member);
    expect(statuses).toMatchObject([{ status: "kicked" }, { status: "member" }]);
    expect(world.received.map(({ update }) => update.update_id) as unknown[]).toEqual([1, 2]);
  });
});

describe("a webhook", () => {
  test("is shown by getWebhookInfo, and gone after deleteWebhook", async () => {
    await using world = await setup();
    expect(await world.api(1).getWebhookInfo()).toMatchObject({ url: world.url, pending_update_count: 0 });
    await world.api(1).deleteWebhook();
    expect((await world.api(1).getWebhookInfo()).url).toBe("");
    expect(await world.control.deliver(1, { message: {} })).toMatchObject({ delivered: false });
    expect(world.received).toEqual([]);
  });

  test("gets only the updates that it allows", async () => {
    await using world = await setup();
    await world.api(1).setWebhook(world.url, { allowed_updates: ["callback_query"] });
    expect(await world.control.block(1, 10)).toMatchObject({ delivered: false });
    expect(await world.control.deliver(1, { callback_query: {} })).toMatchObject({ delivered: true });
    expect(world.received[0]!.secret).toBeNull();
  });

  test("that fails is told of, and remembered", async () => {
    await using world = await setup(() => new Response("no", { status: 403 }));
    expect(await world.control.block(1, 10)).toMatchObject({ delivered: true, status: 403, body: "no" });
    expect((await world.api(1).getWebhookInfo()).last_error_message).toContain("403");
    await world.api(1).setWebhook("http://127.0.0.1:1/");
    expect(await world.control.unblock(1, 10)).toMatchObject({ delivered: false });
  });

  test("needs an address and a secret of allowed characters", async () => {
    await using world = await setup();
    expect(await failureOf(world.api(1).setWebhook("nowhere"))).toMatchObject({ error_code: 400 });
    const secret = world.api(1).setWebhook(world.url, { secret_token: "no spaces" });
    expect(await failureOf(secret)).toMatchObject({ error_code: 400 });
  });
});
