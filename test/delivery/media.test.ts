import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createCustomer } from "#test/conformance/customer.ts";
import { createRestApi } from "#test/conformance/rest-api.ts";
import { createStack, type Stack } from "#test/conformance/stack.ts";
import { png } from "#test/core/media/files.ts";
import { eventually } from "#test/support/eventually.ts";

let stack: Stack;
beforeAll(async () => {
  stack = await createStack();
});
afterAll(() => stack.stop());

/** A customer whose broadcast has a photo, not started yet. */
async function setup(leads: number) {
  const customer = await createCustomer(stack, { leads, flows: true });
  const api = createRestApi(stack.gateway, customer.session);
  const seed = Number(customer.accountId);
  const { media } = await api.ok("POST media/upload", { file: png({ seed, length: 300_000 }) });
  const body = { text: "*Look*, {lead}", media: String(media), media_type: 1, statuses: 31 };
  const id = await api.draft(body);
  const run = async () => {
    await api.ok("POST broadcast/start", { id });
    await eventually(async () => (await api.ok("GET broadcast/get", { id })).status === 2, { timeoutMs: 30_000 });
    return await stack.sandbox.control.messages({ bot: customer.botNumber });
  };
  return { customer, run, api, id };
}

describe("a broadcast with a photo", () => {
  test("uploads it once, and sends everybody else the file_id that came back, with caption and unsubscribe row", async () => {
    const { customer, run } = await setup(40);

    const messages = await run();

    expect(messages.length).toBe(40);
    expect(messages.filter(({ uploaded }) => uploaded).length).toBe(1);
    for (const message of messages) {
      expect(message).toMatchObject({ method: "sendPhoto", entities: [{ type: "bold", offset: 0, length: 4 }] });
      expect(JSON.stringify(message.reply_markup)).toContain("Unsubscribe");
    }
    expect((await stack.sandbox.control.bot(customer.botNumber)).uploads).toBe(1);
  });

  test("uploads it once again when the file_id has stopped working, and fails nobody", async () => {
    const { customer, run, api, id } = await setup(20);
    await run();
    await stack.sandbox.control.expireFiles(customer.botNumber);
    await customer.putLeads(20, { from: 20 });

    const messages = await run();

    expect(messages.length).toBe(40);
    expect(messages.filter(({ uploaded }) => uploaded).length).toBe(2);
    expect(await api.ok("GET broadcast/get", { id })).toMatchObject({ sent: 40, failed: 0 });
  });

  test("leaves one lead in doubt when the answer to the upload is lost, and lets the next one upload", async () => {
    const { customer, run, api, id } = await setup(10);
    await stack.sandbox.control.script({
      bot: customer.botNumber,
      method: "sendPhoto",
      answer: { cut: true, accepted: true },
      times: 1,
    });

    await run();

    expect(await api.ok("GET broadcast/get", { id })).toMatchObject({ sent: 9, failed: 1 });
    expect(await stack.sandbox.control.chatsOver(1, customer.botNumber)).toEqual([]);
    expect((await stack.sandbox.control.bot(customer.botNumber)).distinctChats).toBe(10);
  });

  test.each(["Bad Request: FILE_REFERENCE_EXPIRED", "Bad Request: words that nobody has published"])(
    "uploads it once again when its file_id meets %p, and fails nobody",
    async (words) => {
      const { customer, run, api, id } = await setup(8);
      await run();
      const { control } = stack.sandbox;
      await control.script({ bot: customer.botNumber, method: "sendPhoto", answer: { words }, times: 1 });
      await customer.putLeads(8, { from: 8 });

      await run();

      expect((await control.bot(customer.botNumber)).uploads).toBe(2);
      expect(await api.ok("GET broadcast/get", { id })).toMatchObject({ sent: 16, failed: 0 });
    },
  );
});
