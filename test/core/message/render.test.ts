import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { sampleMacroValues } from "#services/core/message/macros.ts";
import { parseMarkdown } from "#services/core/message/markdown.ts";
import {
  parseUnsubscribeData,
  type RenderInput,
  renderMessage,
  UNSUBSCRIBE_CAPTION,
  unsubscribeData,
} from "#services/core/message/render.ts";

const input = (fields: Partial<RenderInput>): RenderInput => ({
  parsed: parseMarkdown("Hi *{user}*"),
  button: "",
  link: "",
  mediaType: 0,
  values: sampleMacroValues({ user: "Ann" }),
  ...fields,
});

const caption = (button: string, link: string, user: string): string | undefined =>
  renderMessage(input({ button, link, values: sampleMacroValues({ user }) })).keyboard?.inline_keyboard[0]?.[0]?.text;

describe("renderMessage", () => {
  test("fills text, caption and link, and puts the unsubscribe row last", () => {
    const rendered = renderMessage(
      input({
        button: "Open, {user}",
        link: "https://a.bc/?u={user}",
        values: sampleMacroValues({ user: "A&B" }),
        unsubscribe: { callbackData: unsubscribeData(7) },
      }),
    );
    expect(rendered).toEqual({
      text: "Hi A&B",
      entities: [{ type: "bold", offset: 3, length: 3 }],
      keyboard: {
        inline_keyboard: [
          [{ text: "Open, A&B", url: "https://a.bc/?u=A%26B" }],
          [{ text: UNSUBSCRIBE_CAPTION, callback_data: "unsub:7" }],
        ],
      },
    });
  });

  test("has the unsubscribe row alone when there is no button", () => {
    const { keyboard } = renderMessage(input({ unsubscribe: { callbackData: "unsub:7" } }));
    expect(keyboard?.inline_keyboard).toEqual([[{ text: UNSUBSCRIBE_CAPTION, callback_data: "unsub:7" }]]);
  });

  test("has no keyboard in a preview without a button", () => {
    expect(renderMessage(input({})).keyboard).toBeUndefined();
  });

  test("keeps the text under media to 1024 and other text to 4096", () => {
    const parsed = parseMarkdown(`${"x".repeat(1000)}{user}`);
    const values = sampleMacroValues({ user: "y".repeat(200) });
    expect(renderMessage(input({ parsed, values })).text.length).toBe(1200);
    const short = renderMessage(input({ parsed, values, mediaType: 1 })).text;
    expect(short.length).toBe(1024);
    expect(short.endsWith("y…")).toBe(true);
  });

  test("makes a caption of one line and at most 64 units", () => {
    expect(caption("{user}", "https://a.bc", " a\nb ")).toBe("a b");
    expect(caption("x{user}", "https://a.bc", "😀".repeat(40))).toBe(`x${"😀".repeat(31)}`);
  });

  test("cuts a caption between two characters as a person sees them", () => {
    const family = "👨‍👩‍👧‍👦";
    expect(caption("{user}", "https://a.bc", `${"x".repeat(60)}${family}`)).toBe("x".repeat(60));
    expect(caption("{user}", "https://a.bc", `a${"\u0301".repeat(100)}`)).toBe("a.bc");
  });

  test("fills a percent-encoded macro of the button's link", () => {
    const { keyboard } = renderMessage(
      input({ button: "Go", link: "https://a.bc/?u=%7Buser%7D", values: sampleMacroValues({ user: "A&B" }) }),
    );
    expect(keyboard?.inline_keyboard[0]?.[0]).toEqual({ text: "Go", url: "https://a.bc/?u=A%26B" });
  });

  test("names the link's host when the caption comes out empty", () => {
    expect(caption("{user}", "https://u@shop.example.com:81/x?u={user}", "")).toBe("shop.example.com");
    expect(caption(" {user} ", "tg://resolve?domain=a", "\u200B")).toBe("Open");
  });

  test("keeps to Telegram's limits whatever the values are", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.constantFrom(0 as const, 1 as const), (user, mediaType) => {
        const values = sampleMacroValues({ user });
        const rendered = renderMessage(
          input({ values, mediaType, button: "{user}{user}", link: "https://a.bc/{user}?u={user}" }),
        );
        const [button] = rendered.keyboard!.inline_keyboard[0]!;
        expect(button!.text.trim()).not.toBe("");
        expect(button!.text.length).toBeLessThanOrEqual(64);
        expect(button!.text.isWellFormed()).toBe(true);
        expect(new URL((button as { url: string }).url).host).toBe("a.bc");
      }),
    );
  });
});

describe("unsubscribeData", () => {
  test("fits in callback_data and is read back", () => {
    const data = unsubscribeData(BigInt(Number.MAX_SAFE_INTEGER));
    expect(Buffer.byteLength(data)).toBeLessThanOrEqual(64);
    expect(parseUnsubscribeData(data)).toBe(Number.MAX_SAFE_INTEGER);
    expect(parseUnsubscribeData(unsubscribeData(12))).toBe(12);
  });

  test.each(["", "unsub:", "unsub:0", "unsub:-1", "unsub:1x", "unsub:01", "unsub:9999999999999999", "x:1", "unsub:1 "])(
    "is not read from %j",
    (data) => {
      expect(parseUnsubscribeData(data)).toBeUndefined();
    },
  );
});
