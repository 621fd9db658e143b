import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { png } from "#test/core/media/files.ts";
import { createCustomer } from "./customer.ts";
import { createRestApi } from "./rest-api.ts";
import { createStack, type Stack } from "./stack.ts";

let stack: Stack;
beforeAll(async () => {
  stack = await createStack({ relays: 0 });
});
afterAll(() => stack.stop());

async function setup(options: { linked?: boolean } = {}) {
  const customer = await createCustomer(stack, { leads: 0, ...options });
  const api = createRestApi(stack.gateway, customer.session);
  const received = () => stack.sandbox.control.messages({ chat: customer.telegramChatId });
  /** As if two seconds had passed. */
  const rest = () =>
    stack.sql`UPDATE preview_turn SET taken_at = taken_at - interval '2 s' WHERE account_id = ${Number(customer.accountId)}`;
  return { customer, api, received, rest };
}

describe("a preview", () => {
  const body = {
    text: "Hi *{user}*, {click} of {campaign}: {unknown}",
    button: "Go {username}",
    link: "https://example.com/?c={click}&s={status}",
  };

  test("has sample values for the macros, in text, caption and link, and no unsubscribe row", async () => {
    const { customer, api, received, rest } = await setup();
    const id = await api.draft(body);
    await api.ok("POST camp/broadcast", { id: customer.campaignId, status: 0, ...body });

    await api.ok("POST broadcast/test", { id });
    await rest();
    await api.ok("POST camp/btest", { id: customer.campaignId, status: 0 });

    const messages = await received();
    expect(messages.length).toBe(2);
    for (const { method, text, entities, reply_markup, bot } of messages) {
      expect({ bot, method }).toEqual({ bot: stack.serviceBotId, method: "sendMessage" });
      expect(text).toMatch(/^Hi \S+, \S+ of \S+: \{unknown\}$/);
      expect(entities).toEqual([expect.objectContaining({ type: "bold", offset: 3 })]);
      const [[{ text: caption, url } = { text: "", url: "" }] = [], ...more] = (
        reply_markup as { inline_keyboard: { text: string; url: string }[][] }
      ).inline_keyboard;
      expect(caption).toMatch(/^Go [^{}]+$/);
      expect(url).toMatch(/^https:\/\/example\.com\/\?c=[^{}&]+&s=[^{}&]+$/);
      expect(more).toEqual([]);
    }
  });

  test("never has the media, and needs a text", async () => {
    const { api, received } = await setup();
    const { media } = await api.ok("POST media/upload", { file: png({ seed: 42 }) });
    const id = await api.draft({ text: "With a picture", media: String(media), media_type: 1 });
    await api.ok("POST broadcast/test", { id });
    expect(await received()).toMatchObject([{ method: "sendMessage", text: "With a picture", uploaded: false }]);

    const silent = await api.draft({ text: "", media: String(media), media_type: 1 });
    expect((await api.refusal("POST broadcast/test", { id: silent })).code).toBe("func");
  });

  test("is of what is saved: an edit shows in the next one", async () => {
    const { api, received, rest } = await setup();
    const id = await api.draft({ text: "Before" });
    await api.ok("POST broadcast/test", { id });
    await api.ok("POST broadcast/edit", { id, text: "After" });
    await rest();
    await api.ok("POST broadcast/test", { id });
    expect((await received()).map(({ text }) => text)).toEqual(["Before", "After"]);
  });

  test("without a linked chat is refused with func, says how to link one, and sends nothing", async () => {
    const { customer, api } = await setup({ linked: false });
    const id = await api.draft();
    await api.ok("POST camp/broadcast", { id: customer.campaignId, status: 0, text: "Hi" });
    const before = (await stack.sandbox.control.bot(stack.serviceBotId)).calls;
    for (const outcome of [
      await api.refusal("POST broadcast/test", { id }),
      await api.refusal("POST camp/btest", { id: customer.campaignId, status: 0 }),
    ]) {
      expect(outcome).toEqual({ code: "func", message: expect.stringMatching(/link .*bot/i) });
    }
    expect((await stack.sandbox.control.bot(stack.serviceBotId)).calls).toBe(before);
  });

  test("that Telegram refuses is refused with telegram and Telegram's own words", async () => {
    const { customer, api, rest } = await setup();
    const id = await api.draft();
    const refusals = [
      ["blocked", /bot was blocked by the user/],
      ["bad_button", /BUTTON_URL_INVALID/],
      ["retry_after", /Too Many Requests/],
    ] as const;
    for (const [error, words] of refusals) {
      const { telegramChatId: chat } = customer;
      await stack.sandbox.control.script({ bot: stack.serviceBotId, chat, times: 1, answer: { error } });
      expect(await api.refusal("POST broadcast/test", { id })).toEqual({
        code: "telegram",
        message: expect.stringMatching(words),
      });
      await rest();
    }
  });

  test("whose answer is lost is refused with db, and no word of the token", async () => {
    const { customer, api } = await setup();
    const id = await api.draft();
    const { telegramChatId: chat } = customer;
    await stack.sandbox.control.script({ bot: stack.serviceBotId, chat, times: 1, answer: { cut: true } });
    const { code, message } = await api.refusal("POST broadcast/test", { id });
    expect(code).toBe("db");
    expect(message).not.toContain(String(stack.serviceBotId));
    expect(JSON.stringify(stack.errors)).not.toContain("the-service-bot-of");
  });

  test("within two seconds of another of the account is refused with limit, of either kind, and also at the same moment", async () => {
    const { customer, api, received, rest } = await setup();
    const id = await api.draft();
    await api.ok("POST camp/broadcast", { id: customer.campaignId, status: 0, text: "Hi" });
    const ask = () => [
      api.code("POST broadcast/test", { id }),
      api.code("POST camp/btest", { id: customer.campaignId, status: 0 }),
    ];

    const codes = await Promise.all([...ask(), ...ask(), ...ask()]);
    expect(codes.sort()).toEqual(["limit", "limit", "limit", "limit", "limit", "ok"]);
    expect((await received()).length).toBe(1);
    await rest();
    expect(await ask()[0]).toBe("ok");

    const other = await setup();
    expect(await other.api.code("POST broadcast/test", { id: await other.api.draft() })).toBe("ok");
  });
});
