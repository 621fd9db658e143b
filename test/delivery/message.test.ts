import { describe, expect, test } from "bun:test";
import type { ClaimedSend } from "#services/core/ledger/claim.ts";
import { parseMarkdown } from "#services/core/message/markdown.ts";
import { composeMessage } from "#services/delivery/message.ts";

const NOW_MS = Date.parse("2024-05-06T07:08:09.500Z");

function claimed(text: string, change: { body?: Partial<ClaimedSend["body"]>; lead?: Partial<ClaimedSend> } = {}) {
  const body = { parsed: parseMarkdown(text), media: "", mediaType: 0, button: "", link: "", ...change.body };
  const lead = {
    leadId: 12,
    chatId: 34,
    status: 2,
    click: "c1",
    userName: "Ann",
    subscriber: "s1",
    username: "john_doe",
  };
  return { ...lead, campaignId: 5, campaignCode: "C5", ...change.lead, body } as ClaimedSend;
}

describe("composeMessage", () => {
  test("fills in every macro with the lead's values", () => {
    const text = "{click} {status} {campaign} {user} {lead} {subscriber} {username} {chat} {time} {other}";
    expect(composeMessage(claimed(text), NOW_MS)?.text).toBe("c1 approve C5 Ann 12 s1 john_doe 34 1714979289 {other}");
  });

  test("lets no value open an entity, and keeps the entities that there are over their text", () => {
    const message = composeMessage(claimed("Dear *{username}*!", { lead: { username: "*a_b" } }), NOW_MS)!;
    expect(message.text).toBe("Dear *a_b!");
    expect(message.entities).toEqual([{ type: "bold", offset: 5, length: 4 }]);
  });

  test("carries the button with its link filled in, and always the unsubscribe row below", () => {
    const body = { button: "For {user}", link: "https://example.com/?c={username}" };
    const message = composeMessage(claimed("Hi", { body, lead: { username: "a&b" } }), NOW_MS)!;
    const [first, last, ...more] = message.keyboard!.inline_keyboard;
    expect(first).toEqual([{ text: "For Ann", url: "https://example.com/?c=a%26b" }]);
    expect(last).toMatchObject([{ text: expect.stringContaining("Unsubscribe"), callback_data: expect.any(String) }]);
    expect(more).toEqual([]);
  });

  test("fills a percent-encoded macro of any link, also of a text that was saved long ago", () => {
    const body = { button: "Go", link: "https://example.com/?c=%7Bclick%7D" };
    const message = composeMessage(claimed("[a](https://a.bc/%7bclick}) *b*", { body }), NOW_MS)!;
    expect(message.entities[0]).toMatchObject({ url: "https://a.bc/c1" });
    expect(message.keyboard!.inline_keyboard[0]).toEqual([{ text: "Go", url: "https://example.com/?c=c1" }]);
  });

  test("is nothing where the text is blank with this lead's values, unless there is media", () => {
    expect(composeMessage(claimed("{username} ", { lead: { username: "" } }), NOW_MS)).toBeUndefined();
    const body = { media: "ref", mediaType: 1 };
    const message = composeMessage(claimed("{username} ", { body, lead: { username: "" } }), NOW_MS);
    expect(message).toMatchObject({ chatId: 34, media: "ref", mediaType: 1 });
  });
});
