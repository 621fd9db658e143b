import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { callbackAnswer, readUpdate, UNSUBSCRIBED_TEXT, type UpdateMoment } from "#services/campaign/update.ts";
import { unsubscribeData } from "#services/core/message/render.ts";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";

const chat = { id: 501, type: "private" };
const group = { id: -100, type: "supergroup" };
const read = (update: object) => readUpdate(JSON.stringify({ update_id: 1, ...update }));
const tap = (callback: object) => read({ callback_query: { id: "77", from: { id: 900 }, ...callback } });
const member = (status: string, of: object = chat) =>
  read({ my_chat_member: { chat: of, new_chat_member: { status } } });

describe("readUpdate", () => {
  test("reads a tap on the unsubscribe button: campaign from its data, chat from its message", () => {
    const data = unsubscribeData(12);
    const event = { kind: "unsubscribe", callbackId: "77", campaignId: 12, chatId: 501 } as const;
    expect(tap({ data, message: { chat, text: "Hi" } })).toEqual(event);
    expect(tap({ data, message: { chat, message_id: 5, date: 0 } })).toEqual(event);
    expect(tap({ data, message: { chat: group } })).toEqual({ ...event, chatId: -100 });
    expect(tap({ data })).toEqual({ ...event, chatId: 900 });
    expect(tap({ data, message: null })).toEqual({ ...event, chatId: 900 });
  });

  test("reads any other button as one to be answered", () => {
    const event = { kind: "otherButton", callbackId: "77" } as const;
    for (const data of [undefined, "", 12, "buy:12"]) expect(tap({ data, message: { chat } })).toEqual(event);
    expect(tap({ id: 77 })).toEqual({ kind: "none" });
  });

  test("tells a button of ours that cannot be read from others: its person must not be left in the belief that it worked", () => {
    const event = { kind: "deadButton", callbackId: "77" } as const;
    for (const data of ["unsub:", "unsub:0", "unsub:-1", "unsub:1e3", `unsub:${2 ** 60}`]) {
      expect(tap({ data, message: { chat } })).toEqual(event);
    }
    for (const id of [undefined, "900", 2 ** 60, 0]) {
      expect(tap({ data: unsubscribeData(12), from: { id } })).toEqual(event);
    }
  });

  test("reads block and unblock of a private chat, and of no other", () => {
    const undated = { kind: "reachability", chatId: 501, atSeconds: null, updateId: 1 } as const;
    expect(member("kicked")).toEqual({ ...undated, reachable: false });
    expect(member("member")).toEqual({ ...undated, reachable: true });
    expect(member("left")).toEqual({ kind: "none" });
    expect(member("kicked", group)).toEqual({ kind: "none" });
  });

  test("reads a private message as proof that the chat can be reached", () => {
    expect(read({ update_id: 9, message: { chat, text: "/start", date: 1_767_225_600 } })).toEqual({
      kind: "reachability",
      chatId: 501,
      reachable: true,
      atSeconds: 1_767_225_600,
      updateId: 9,
    });
    expect(read({ message: { chat: group, text: "/start" } })).toEqual({ kind: "none" });
  });

  test("takes a date and an id only as Telegram writes them, and no date past the year 9999", () => {
    const moment = (date: unknown, update_id: unknown) => {
      const { atSeconds, updateId } = read({ update_id, message: { chat, date } }) as UpdateMoment;
      return [atSeconds, updateId];
    };
    expect(moment(0, 0)).toEqual([0, 0]);
    expect(moment(2 ** 60, 2 ** 60)).toEqual([253_402_300_799, 0]);
    for (const odd of ["1767225600", -1, 1.5, null, undefined, {}, true]) expect(moment(odd, odd)).toEqual([null, 0]);
  });

  test("passes over everything else", () => {
    for (const update of [{}, { edited_message: { chat } }, { message: 1 }, { my_chat_member: [] }]) {
      expect(read(update)).toEqual({ kind: "none" });
    }
    for (const id of [0, 1.5, 2 ** 60, "501", null]) {
      expect(read({ message: { chat: { ...chat, id } } })).toEqual({ kind: "none" });
    }
  });

  test("refuses what is not a JSON object, and repeats nothing of it", () => {
    const deep = `${"[".repeat(500_000)}"secret"${"]".repeat(500_000)}`;
    for (const json of [deep, "", "secret words", "[]", "null", '"secret"', "1", '{"message": {"text": "secret"']) {
      try {
        readUpdate(json);
        throw new Error("It was expected to be refused, and passed.");
      } catch (error) {
        expect(error).toMatchObject({ reason: ErrorReason.INVALID_ARGUMENT, field: "update_json" });
        expect(Bun.inspect(error)).not.toContain("secret");
      }
    }
  });

  test("answers or refuses, whatever it is given", () => {
    const names = fc.constantFrom(
      "callback_query",
      "my_chat_member",
      "message",
      "chat",
      "from",
      "id",
      "data",
      "__proto__",
    );
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof({ maxDepth: 5 }, fc.jsonValue({ maxDepth: 1 }), fc.dictionary(names, tie("tree"))),
    }));
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          tree.map((value) => JSON.stringify(value) ?? ""),
        ),
        (json) => {
          try {
            expect(readUpdate(json)).toHaveProperty("kind");
          } catch (error) {
            if (!(error instanceof DomainError)) throw error;
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe("callbackAnswer", () => {
  test("is a call of answerCallbackQuery, with words for who has unsubscribed", () => {
    expect(JSON.parse(callbackAnswer('7"7', UNSUBSCRIBED_TEXT))).toEqual({
      method: "answerCallbackQuery",
      callback_query_id: '7"7',
      text: "You will get no more messages.",
      show_alert: true,
    });
    expect(JSON.parse(callbackAnswer("77"))).toEqual({
      method: "answerCallbackQuery",
      callback_query_id: "77",
    });
  });
});
