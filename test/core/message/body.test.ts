import { describe, expect, test } from "bun:test";
import { checkBody, checkSendable, emptyBody, isEmptyBody, type MessageBody } from "#services/core/message/body.ts";
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

/** So many links, whose addresses have so many bytes together. */
const linksOf = (count: number, bytes: number): string => {
  const share = Math.floor(bytes / count);
  const address = (length: number) => `https://a.bc/${"x".repeat(length - 13)}`;
  return Array.from(
    { length: count },
    (_, index) => `[x](${address(index === 0 ? bytes - share * (count - 1) : share)})`,
  ).join(" ");
};

ACCEPTED.push(
  ["100 entities", body({ text: "*b* ".repeat(100) })],
  ["100 entities of all kinds", body({ text: "*b* _i_ `c` ```p``` [l](https://a.bc) ".repeat(20) })],
  ["101 entities of which one vanishes", body({ text: `${"*b* ".repeat(100)}**` })],
  ["9,000 bytes of addresses", body({ text: linksOf(10, 9_000) })],
  ["a percent-encoded macro behind the host", linked("https://example.com/?click=%7Bclick%7D")],
  ["an underscore in the host", linked("https://my_shop.example.com/")],
  ["a dot at the end of the host", linked("https://example.com./")],
  ["noughts before the port", linked("https://example.com:0443/")],
  ["the highest port", linked("https://example.com:65535/")],
  ["words in brackets", body({ text: "[hello]" })],
  ["a link in the text without a scheme", body({ text: "[a](example.com/x)" })],
  ["a mention", body({ text: "[a](tg://user?id=1)" })],
  ["Persian with its joiners in a path", linked("https://example.com/می\u200Cخواهم")],
);

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

/** Each fault of a link is told as itself. */
const LINK_FAULTS: [link: string, message: string][] = [
  ["https://example.com:99999/", "its port is none: behind the colon stands a whole number from 1 to 65535"],
  ["https://example.com:0/", "its port is none"],
  ["https://example.com:abc/", "its port is none"],
  ["https://example.com:-1", "its port is none"],
  ["https://example.com:8e3/", "its port is none"],
  ["https://localhost:99999/", "its port is none"],
  ["https://example.com:/", "a colon stands behind its host, and no port"],
  ["https://", "it has no host"],
  ["https:///path", "it has no host"],
  ["https://?x=1", "it has no host"],
  ["https://#x", "it has no host"],
  ["https://:8080/", "it has no host"],
  ["https://user@/", "it has no host"],
  ["https://localhost/", "its host must have a dot"],
  ["https://localhost./", "its host must have a dot"],
  ["https://.com", "its host must have a dot"],
  ["https://example..com/", "its host has dots with nothing between them"],
  ["https://localhost../", "its host must have a dot"],
  ["http://2130706433/", "its host must have a dot"],
  ["https://[::1]/", "its host is an IPv6 address"],
  ["https://[::ffff:1.2.3.4]:80/", "its host is an IPv6 address"],
  ["https://exa<mple.com/", 'its host holds "<"'],
  ["https://exa%zzmple.com/", 'its host holds "%"'],
  ["https://{foo}.com/", 'its host holds "{"'],
  ["https://exam|ple.com/", 'its host holds "|"'],
  ["https://a:b:80/", 'its host holds ":"'],
  ["https://us|er@example.com/", 'what stands before its @ holds "|"'],
  ["https://999.1.1.1/", "no browser opens its host"],
  ["https://exam ple.com/", "holds a space"],
  ["https://example.com/a b", "holds a space"],
  ["https://example.com/a\u00A0b", "holds a space"],
  [" https://example.com/", "begins or ends with a space"],
  ["https://example.com/ ", "begins or ends with a space"],
  ["https:\\\\example.com", "holds a backslash"],
  ["https://exam\u200Bple.com/", "holds a character that cannot be seen (U+200B)"],
  ["https://example.com/\u202Egpj.exe", "holds a character that cannot be seen (U+202E)"],
  ["\uFEFFhttps://example.com/", "holds a character that cannot be seen (U+FEFF)"],
  ["ftp://example.com/", "must start with https://, http:// or tg://, and not with ftp: alone."],
  ["mailto:a@example.com", "and not with mailto: alone."],
  ["javascript:alert(1)", "and not with javascript: alone."],
  ["https:example.com", "and not with https: alone."],
  ["https:/example.com", "and not with https: alone."],
  ["example.com", "must start with https://, http:// or tg://."],
  ["example.com:8080/x", "must start with https://, http:// or tg://."],
  ["//example.com", "must start with https://, http:// or tg://."],
  ["https://%7Bclick%7D.example.com/", "may hold a macro only behind the link's host"],
  ["https://example.com%7bclick%7d", "may hold a macro only behind the link's host"],
  ["https://{click%7D@example.com/", "may hold a macro only behind the link's host"],
  ["tg://", "nothing stands behind tg://"],
  ["tg:", "nothing stands behind tg://"],
  ["tg://?domain=a", "nothing stands behind tg://"],
  ["tg://resolve:80?domain=a", "a tg:// link has neither a user nor a port"],
  ["tg://me@resolve", "a tg:// link has neither a user nor a port"],
  ["tg://re.solve", "behind tg:// stands a word of letters"],
];

const TEXT_FAULTS: [text: string, message: string][] = [
  ["*b* ".repeat(101), "The text has 101 entities (formatted places and links): Telegram shows only 100."],
  ["[x](https://a.bc) ".repeat(120), "The text has 120 entities"],
  [
    linksOf(10, 9_001),
    "The addresses of the links in the text have 9001 bytes together: shorten them to at most 9000.",
  ],
  [linksOf(12, 12_000), "have 12000 bytes together"],
  [`[x](https://a.bc/${"ы".repeat(1_000)}) `.repeat(5), "bytes together"],
  ["see [here](https://localhost)", 'The link "here" in the text is not a valid address: its host must have a dot'],
  ["see [here](https://a.bc:99999)", 'The link "here" in the text is not a valid address: its port is none'],
  ["[a](ftp://a.bc/)", "must start with https://, http:// or tg://"],
  ["[a](page 5)", 'The link "a" in the text holds a space'],
  ["[a](b)", "must start with https://, http:// or tg://"],
  ["[a](https://{click}.a.bc/)", "may hold a macro only behind the link's host"],
  ["[a](https://%7Bclick%7D.a.bc/)", "may hold a macro only behind the link's host"],
  ["[a](https://a.bc%7Bclick%7D)", "may hold a macro only behind the link's host"],
  ["[a]({click})", "must start with https://, http:// or tg://"],
  ["[a]()", 'The link "a" in the text has no address'],
  ["[a]( )", "has no address"],
  [`[${"y".repeat(60)}](b)`, `The link "${"y".repeat(40)}" in the text`],
  [
    `[a](https://a.bc/${"x".repeat(2048)})`,
    'The link "a" in the text is too long: shorten it to at most 2048 characters.',
  ],
];

describe("a fault is told as itself", () => {
  for (const [link, message] of LINK_FAULTS) {
    test(`in a button's link: ${JSON.stringify(link)}`, () => {
      const error = refusal(() => checkBody(linked(link)));
      expect([error.reason, error.field]).toEqual([ErrorReason.INVALID_ARGUMENT, "link"]);
      expect(error.message).toContain(message);
      expect(error.message).toStartWith("The link ");
    });
  }

  for (const [text, message] of TEXT_FAULTS) {
    test(`in a text: ${text.slice(0, 60)}`, () => {
      const error = refusal(() => checkBody(body({ text })));
      expect([error.reason, error.field]).toEqual([ErrorReason.INVALID_ARGUMENT, "text"]);
      expect(error.message).toContain(message);
    });
  }

  test("and each sentence names only one", () => {
    const faults = ["port", "dot", "IPv6", "space", "backslash", "macro", "cannot be seen"];
    const named = ([link]: [string, string]) => {
      const { message } = refusal(() => checkBody(linked(link)));
      return faults.filter((fault) => message.includes(fault)).length;
    };
    const hostIsMissing = LINK_FAULTS.filter(([, message]) => !/no host|IPv6|no port|user nor a port/.test(message));
    for (const fault of hostIsMissing) expect([fault, named(fault) <= 1]).toEqual([fault, true]);
  });
});

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
  test.each(["", "  \n", "**", "`` __", "\u200B", "\u2060 \uFEFF", "*\u3164*", "\r\n", "[\u200B](https://a.bc)"])(
    "takes %j without media for nothing",
    (text) => {
      expect(isEmptyBody(body({ text, button: "Open", link: "https://a.bc" }))).toBe(true);
    },
  );

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

  test("refuses a stored body with more than Telegram takes", () => {
    for (const text of ["*b* ".repeat(101), linksOf(10, 9_001)]) {
      const error = refusal(() => checkSendable(body({ text })));
      expect([error.reason, error.field]).toEqual([ErrorReason.BODY_INVALID, "text"]);
    }
    expect(() => checkSendable(body({ text: linksOf(10, 9_000), media: "m", mediaType: 1 }))).not.toThrow();
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
