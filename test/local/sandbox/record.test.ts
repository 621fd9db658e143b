import { describe, expect, test } from "bun:test";
import { createRecord } from "#services/local/sandbox/record.ts";

function setup(keepBodies = 100) {
  const record = createRecord(keepBodies);
  let now = 0;
  const accept = (bot: number, chat: number, text = "hi") =>
    record.accepted({
      bot,
      chat,
      method: "sendMessage",
      arrivedMs: now++,
      wallMs: 1_700_000_000_000,
      uploaded: false,
      body: { text, entities: undefined, parseMode: undefined, replyMarkup: undefined, fileId: undefined },
    });
  return { record, accept };
}

describe("the record", () => {
  test("counts by bot and chat", () => {
    const { record, accept } = setup();
    expect([accept(1, 10), accept(1, 10), accept(1, 11), accept(2, 10)]).toEqual([1, 2, 1, 1]);
    expect(record.totals()).toMatchObject({ accepted: 4, distinctChats: 3, mostPerChat: 2 });
    expect(record.report(1)).toMatchObject({ accepted: 3, distinctChats: 2, mostPerChat: 2 });
    expect(record.report(3)).toMatchObject({ accepted: 0, distinctChats: 0 });
    expect(record.chatsOver(1)).toEqual([{ bot: 1, chat: 10, count: 2 }]);
    expect(record.chatsOver(0, 2)).toEqual([{ bot: 2, chat: 10, count: 1 }]);
  });

  test("finds duplicates, and tells them from other messages to the same chat", () => {
    const { record, accept } = setup();
    for (const text of ["a", "b", "a"]) accept(1, 10, text);
    accept(2, 10, "a");
    expect(record.duplicates()).toEqual([{ bot: 1, chat: 10, count: 2, messageIds: [1, 3], text: "a" }]);
    expect(record.duplicates(2)).toEqual([]);
  });

  test("keeps only the newest bodies, and finds duplicates among all", () => {
    const { record, accept } = setup(2);
    for (const chat of [1, 2, 1, 3, 4]) accept(1, chat);
    expect(record.messages({}).map(({ text }) => text)).toEqual([undefined, undefined, undefined, "hi", "hi"]);
    expect(record.duplicates()).toMatchObject([{ chat: 1, count: 2 }]);
    record.keepBodies(1);
    accept(1, 5, "last");
    expect(record.messages({ newest: true }).map(({ text }) => text)).toEqual(["last", ...Array(5).fill(undefined)]);
    record.keepBodies(3);
    accept(1, 6, "after");
    expect(record.messages({ newest: true, limit: 3 }).map(({ text }) => text)).toEqual(["after", "last", undefined]);
    record.keepBodies(0);
    accept(1, 7);
    expect(record.messages({ chat: 7 })).toHaveLength(1);
  });

  test("pages through messages", () => {
    const { record, accept } = setup();
    for (let chat = 1; chat <= 10; chat++) accept(1, chat);
    expect(record.messages({ offset: 3, limit: 2 }).map(({ chat }) => chat)).toEqual([4, 5]);
    expect(record.messages({ newest: true, limit: 2 }).map(({ chat }) => chat)).toEqual([10, 9]);
    expect(() => record.messages({ limit: -1 })).toThrow("query.limit is a whole number from 0");
  });

  test("exports JSON lines", async () => {
    const { record, accept } = setup();
    for (let chat = 1; chat <= 2_500; chat++) accept(1, chat);
    const lines = (await new Response(record.lines()).text()).trimEnd().split("\n");
    expect(lines).toHaveLength(2_500);
    expect(JSON.parse(lines[2_499]!)).toMatchObject({ bot: 1, chat: 2_500, text: "hi", method: "sendMessage" });
  });

  test("clears counts and keeps message ids rising", () => {
    const { record, accept } = setup();
    accept(1, 10);
    record.clear();
    expect(record.totals()).toMatchObject({ accepted: 0, distinctChats: 0, mostPerChat: 0 });
    expect(record.messages({})).toEqual([]);
    expect(accept(1, 10)).toBe(2);
    expect(record.chatsOver(1)).toEqual([]);
  });

  test("counts 300,000 messages exactly", () => {
    const { record, accept } = setup(1_000);
    for (let chat = 0; chat < 300_000; chat++) accept(1, 5_000_000_000 + chat);
    accept(1, 5_000_000_000);
    expect(record.report(1)).toMatchObject({ accepted: 300_001, distinctChats: 300_000, mostPerChat: 2 });
    expect(record.duplicates()).toHaveLength(1);
  });
});
