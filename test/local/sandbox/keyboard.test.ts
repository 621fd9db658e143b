import { describe, expect, test } from "bun:test";
import { checkReplyMarkup } from "#services/local/sandbox/keyboard.ts";

const described = (button: unknown) => checkReplyMarkup({ inline_keyboard: [[button]] })?.description;
const withUrl = (url: string) => described({ text: "Open", url });

describe("an inline keyboard", () => {
  test.each([
    "https://example.com/l?click=1",
    "http://example.com:8080",
    "tg://resolve?domain=x",
    "example.com",
    "https://[::1]/x",
    "https://пример.рф/",
  ])("takes %s", (url) => expect(withUrl(url)).toBeUndefined());

  test.each([
    ["http://localhost/x", "Wrong HTTP URL"],
    ["http://{click}", "Disallowed character in URL host"],
    ["https://", "URL host is empty"],
    ["ftp://example.com", "Unsupported URL protocol"],
    ["http://example.com:port/", "Wrong port number specified in the URL"],
    ["http://exa mple.com/", "Disallowed character in URL host"],
  ])("refuses %s", (url, problem) => {
    expect(withUrl(url)).toBe(`Bad Request: inline keyboard button URL '${url}' is invalid: ${problem}`);
  });

  test("takes callback data of 1 to 64 bytes", () => {
    const withData = (data: string) => described({ text: "Stop", callback_data: data });
    expect(withData("x".repeat(64))).toBeUndefined();
    expect(withData("é".repeat(32))).toBeUndefined();
    expect(withData("é".repeat(33))).toBe("Bad Request: BUTTON_DATA_INVALID");
    expect(withData("")).toBe("Bad Request: BUTTON_DATA_INVALID");
  });

  test("refuses buttons without text or action, and what is no keyboard", () => {
    expect(described({ text: " ", url: "https://a.example" })).toBe("Bad Request: BUTTON_TEXT_INVALID");
    expect(described({ text: "x" })).toContain("text buttons are unallowed");
    expect(checkReplyMarkup(null)?.status).toBe(400);
    expect(checkReplyMarkup({ inline_keyboard: [{}] })?.status).toBe(400);
    expect(checkReplyMarkup({ remove_keyboard: true })).toBeUndefined();
  });
});
