import { describe, expect, test } from "bun:test";
import { checkBody, checkSendable, emptyBody, isEmptyBody, type MessageBody } from "#services/message/body.ts";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";

const body = (fields: Partial<MessageBody>): MessageBody => ({ ...emptyBody, ...fields });
const linked = (link: string): MessageBody => body({ text: "a", button: "Open", link });

const ACCEPTED: [why: string, body: MessageBody][] = [
  ["an empty body", body({})],
  ["4096 characters", body({ text: "x".repeat(4096) })],
  ["4096 characters and their formatting", body({ text: `*${"x".repeat(4096)}*` })],
  ["1024 characters with media", body({ text: "x".repeat(1024), media: "m", mediaType: 1 })],
  ["emoji up to 4096 units", body({ text: "😀".repeat(2048) })],
  ["media alone", body({ media: "m", mediaType: 2 })],
  ["line ends and tabs", body({ text: "a\r\n\tb" })],
  ["a caption of 64 characters with macros", body({ button: `{user}${"x".repeat(58)}`, link: "https://a.bc" })],
  ["a link of 2048 characters", linked(`https://a.bc/${"x".repeat(2035)}`)],
  ["macros behind the host", linked("https://example.com/{lead}/l?click={click}#{time}")],
  ["a macro right behind the question mark", linked("https://example.com?{click}")],
  ["http", linked("HTTP://Example.com")],
  ["a port", linked("https://example.com:8443/")],
  ["a user", linked("https://me@example.com/")],
  ["an IDN", linked("https://пример.рф/путь")],
  ["an IP address", linked("http://192.0.2.1/")],
  ["a tg link", linked("tg://resolve?domain={username}")],
  ["an unknown macro behind the host", linked("https://example.com/{foo}")],
];

const REFUSED: [why: string, body: MessageBody, field: string, message: RegExp][] = [
  ["4097 characters", body({ text: "x".repeat(4097) }), "text", /4097 characters.*at most 4096\./],
  [
    "1025 characters with media",
    body({ text: "x".repeat(1025), media: "m", mediaType: 1 }),
    "text",
    /1024 when there is media/,
  ],
  ["emoji over 4096 units", body({ text: "😀".repeat(2049) }), "text", /4098/],
  ["a source over 16384", body({ text: "*".repeat(16_386) }), "text", /formatting.*16384/],
  ["bad Markdown", body({ text: "hello *bold" }), "text", /The \* at character 7 is never closed/],
  ["a link in the text over 2048", body({ text: `[a](x.yz/${"x".repeat(2048)})` }), "text", /at most 2048/],
  ["NUL in the text", body({ text: "a\0b" }), "text", /control character/],
  ["half an emoji in the text", body({ text: "a\uD83D" }), "text", /broken character/],
  ["media without a type", body({ media: "m" }), "media_type", /1 for a photo/],
  ["a type without media", body({ mediaType: 2 }), "media_type", /no media/],
  ["an unknown type", body({ media: "m", mediaType: 3 as 2 }), "media_type", /0 \(none\)/],
  ["a control character in the ref", body({ media: "a\nb", mediaType: 1 }), "media", /control/],
  ["an endless ref", body({ media: "m".repeat(256), mediaType: 1 }), "media", /no media ref/],
  ["a caption without a link", body({ button: "Open" }), "link", /give one, or remove/],
  ["a link without a caption", body({ link: "https://a.bc" }), "button", /give the button a caption/],
  ["a caption of space", body({ button: " \u200B", link: "https://a.bc" }), "button", /give the button a caption/],
  ["a caption of 65 characters", body({ button: "x".repeat(65), link: "https://a.bc" }), "button", /at most 64/],
  ["a line end in the caption", body({ button: "a\nb", link: "https://a.bc" }), "button", /control/],
  ["half an emoji in the caption", body({ button: "a\uDE00", link: "https://a.bc" }), "button", /broken/],
  ["a link of 2049 characters", linked(`https://a.bc/${"x".repeat(2036)}`), "link", /at most 2048/],
  ["no scheme", linked("example.com"), "link", /must start with https/],
  ["another scheme", linked("javascript:alert(1)"), "link", /must start with https/],
  ["ftp", linked("ftp://example.com/"), "link", /must start with https/],
  ["a scheme without slashes", linked("https:example.com"), "link", /must start with https/],
  ["a macro as the link", linked("{click}"), "link", /must start with https/],
  ["a macro in the host", linked("https://{click}.example.com/"), "link", /behind the link's host/],
  ["a macro that ends the host", linked("https://example.com{click}"), "link", /behind the link's host/],
  ["a macro as user", linked("https://{user}@example.com/"), "link", /behind the link's host/],
  ["a macro as port", linked("https://example.com:{lead}/"), "link", /behind the link's host/],
  ["a macro as tg host", linked("tg://{username}"), "link", /behind the link's host/],
  ["a backslash before a macro", linked("https://example.com\\{click}@evil.com/"), "link", /backslash/],
  ["no dot", linked("https://localhost/"), "link", /must have a dot/],
  ["a dot at the end only", linked("https://localhost./"), "link", /must have a dot/],
  ["a number for a host", linked("http://2130706433/"), "link", /must have a dot/],
  ["no host", linked("https:///path"), "link", /must have a dot/],
  ["braces in the host", linked("https://{foo}.example.com/"), "link", /not a valid address/],
  ["a bad port", linked("https://example.com:70000/"), "link", /not a valid address/],
  ["a space", linked("https://example.com/a b"), "link", /space/],
  ["a line end", linked("https://example.com/\n"), "link", /control/],
  ["a tg link without a host", linked("tg://"), "link", /not a valid address/],
];

describe("checkBody", () => {
  for (const [why, accepted] of ACCEPTED) {
    test(`accepts ${why}`, () => {
      expect(() => checkBody(accepted)).not.toThrow();
    });
  }

  for (const [why, refused, field, message] of REFUSED) {
    test(`refuses ${why}`, () => {
      const error = refusal(() => checkBody(refused));
      expect(error.reason).toBe(ErrorReason.INVALID_ARGUMENT);
      expect(error.field).toBe(field);
      expect(error.message).toMatch(message);
    });
  }

  test("gives the text parsed", () => {
    expect(checkBody(body({ text: "Hi *{user}*" }))).toEqual({
      text: "Hi {user}",
      entities: [{ type: "bold", offset: 3, length: 6 }],
    });
  });
});

describe("isEmptyBody", () => {
  test.each(["", "  \n", "**", "`` __", "\u200B"])("takes %j without media for nothing", (text) => {
    expect(isEmptyBody(body({ text, button: "Open", link: "https://a.bc" }))).toBe(true);
  });

  test("takes text, media and broken Markdown for something", () => {
    expect(isEmptyBody(body({ text: "a" }))).toBe(false);
    expect(isEmptyBody(body({ text: "{username}" }))).toBe(false);
    expect(isEmptyBody(body({ media: "m", mediaType: 1 }))).toBe(false);
    expect(isEmptyBody(body({ text: "*" }))).toBe(false);
  });
});

describe("checkSendable", () => {
  test("refuses a body without text and media", () => {
    const error = refusal(() => checkSendable(emptyBody));
    expect(error.reason).toBe(ErrorReason.BODY_INVALID);
    expect(error.message).toMatch(/give it a text/);
  });

  test("accepts either", () => {
    expect(() => checkSendable(body({ text: "a" }))).not.toThrow();
    expect(() => checkSendable(body({ media: "m", mediaType: 1 }))).not.toThrow();
  });
});

function refusal(run: () => unknown): DomainError {
  try {
    run();
  } catch (error) {
    if (error instanceof DomainError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}
