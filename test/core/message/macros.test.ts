import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  fillLink,
  fillText,
  isBlank,
  MACRO_NAMES,
  type MacroName,
  type MacroValues,
  sampleMacroValues,
} from "#services/core/message/macros.ts";
import { type ParsedText, parseMarkdown, type TextEntity } from "#services/core/message/markdown.ts";
import { cutText } from "#services/core/message/plain-text.ts";

const EMPTY = Object.fromEntries(MACRO_NAMES.map((name) => [name, ""])) as MacroValues;

const fill = (source: string, values: Partial<MacroValues>, limit?: number): ParsedText =>
  fillText(parseMarkdown(source), { ...EMPTY, ...values }, limit);

describe("fillText", () => {
  test("puts every macro's value in", () => {
    const values = Object.fromEntries(MACRO_NAMES.map((name) => [name, `<${name}>`])) as MacroValues;
    const source = MACRO_NAMES.map((name) => `{${name}}`).join(" ");
    expect(fill(source.replaceAll("_", "\\_"), values).text).toBe(MACRO_NAMES.map((name) => `<${name}>`).join(" "));
  });

  test("leaves unknown macros and other braces as they are", () => {
    expect(fill("{foo} {User} { user } {} {{user}} {user", { user: "Ann" }).text).toBe(
      "{foo} {User} { user } {} {Ann} {user",
    );
  });

  test("stretches the entity that the value is in and moves the later ones", () => {
    expect(fill("{user}: *{user}!* `c`", { user: "😀Ann" })).toEqual({
      text: "😀Ann: 😀Ann! c",
      entities: [
        { type: "bold", offset: 7, length: 6 },
        { type: "code", offset: 14, length: 1 },
      ],
    });
  });

  test("takes Markdown in a value for plain text", () => {
    const user = "*b* _i_ `c` [x](http://a.bc) \\";
    expect(fill("a {user} *b*", { user })).toEqual({
      text: `a ${user} b`,
      entities: [{ type: "bold", offset: user.length + 3, length: 1 }],
    });
  });

  test("does not look for macros or replacement patterns in a value", () => {
    expect(fill("{user}", { user: "{click}$&$1$$", click: "x" }).text).toBe("{click}$&$1$$");
  });

  test("does not make a macro of what is half inside an entity", () => {
    const filled = fill("{us*er}*", { user: "Ann" });
    expect(filled).toEqual({ text: "{user}", entities: [{ type: "bold", offset: 3, length: 3 }] });
  });

  test("drops an entity that becomes empty", () => {
    expect(fill("a *{user}* `b`", {})).toEqual({ text: "a  b", entities: [{ type: "code", offset: 3, length: 1 }] });
  });

  test("percent-encodes values in the address of a link", () => {
    const filled = fill("[{user}](https://a.bc/{user}?c={click})", { user: "a/b", click: "1&2=ü" });
    expect(filled).toEqual({
      text: "a/b",
      entities: [{ type: "text_link", offset: 0, length: 3, url: "https://a.bc/a%2Fb?c=1%262%3D%C3%BC" }],
    });
  });

  test("makes values fit to send: no NUL, no lone surrogate, no override, no carriage return", () => {
    expect(fill("{user}|", { user: "a\0b\uD83Dc\u202Ed\r\ne\tf" }).text).toBe("a b\uFFFDcd\ne f|");
  });

  test("bounds a value at 255 units, between characters", () => {
    expect(fill("{user}.", { user: "x".repeat(1000) }).text).toBe(`${"x".repeat(255)}.`);
    expect(fill("{user}.", { user: "😀".repeat(200) }).text).toBe(`${"😀".repeat(127)}.`);
  });

  test("cuts what is too long at the end, and entities with it", () => {
    const filled = fill("{user} *bold* `code`", { user: "Ann" }, 8);
    expect(filled).toEqual({ text: "Ann bol…", entities: [{ type: "bold", offset: 4, length: 3 }] });
    expect(fill("ab😀cd", {}, 4).text).toBe("ab…");
    expect(fill("abcd", {}, 4).text).toBe("abcd");
  });

  test("covers exactly the template's entities, whatever the values", () => {
    fc.assert(
      fc.property(templateArb, valuesArb, (pieces, values) => {
        const template = build(pieces);
        const filled = fillText(template, values, 1_000_000);
        const expected = pieces.filter(({ type, text }) => type && fillText(plain(text), values).text !== "");
        expect(filled.entities.map((entity) => entity.type)).toEqual(expected.map(({ type }) => type!));
        filled.entities.forEach((entity, index) => {
          const covered = filled.text.slice(entity.offset, entity.offset + entity.length);
          expect(covered).toBe(fillText(plain(expected[index]!.text), values).text);
        });
        expect(filled.text).toBe(pieces.map(({ text }) => fillText(plain(text), values).text).join(""));
      }),
    );
  });

  test("stays within the limit with whole characters and entities in range, whatever the values", () => {
    fc.assert(
      fc.property(templateArb, valuesArb, fc.integer({ min: 1, max: 60 }), (pieces, values, limit) => {
        const { text, entities } = fillText(build(pieces), values, limit);
        expect(text.length).toBeLessThanOrEqual(limit);
        expect(text.isWellFormed()).toBe(true);
        let end = 0;
        for (const { offset, length } of entities) {
          expect(offset).toBeGreaterThanOrEqual(end);
          expect(length).toBeGreaterThan(0);
          end = offset + length;
          expect(text.slice(offset, end).isWellFormed()).toBe(true);
        }
        expect(end).toBeLessThanOrEqual(text.length);
      }),
    );
  });
});

describe("fillLink", () => {
  test("percent-encodes what is not safe, also lone surrogates", () => {
    const values = { ...EMPTY, click: "a b/?#&%", user: "\uDC00😀" };
    expect(fillLink("https://a.bc/?c={click}&u={user}&f={foo}", values)).toBe(
      "https://a.bc/?c=a%20b%2F%3F%23%26%25&u=%EF%BF%BD%F0%9F%98%80&f={foo}",
    );
  });

  test("shortens values alike when the link would be longer than 2048", () => {
    const values = { ...EMPTY, click: "ы".repeat(255), user: "ы".repeat(255), lead: "7" };
    const filled = fillLink("https://a.bc/?c={click}&u={user}&l={lead}", values);
    expect(filled.length).toBeLessThanOrEqual(2048);
    expect(filled.length).toBeGreaterThan(2048 - 13);
    const query = new URL(filled).searchParams;
    expect(query.get("c")).toBe(query.get("u"));
    expect(query.get("l")).toBe("7");
  });

  test("never changes scheme or host, and never adds a parameter", () => {
    fc.assert(
      fc.property(fc.constantFrom(...LINKS), valuesArb, (template, values) => {
        const before = new URL(template);
        const after = new URL(fillLink(template, values));
        expect([after.protocol, after.host, after.username]).toEqual([before.protocol, before.host, before.username]);
        expect([...after.searchParams.keys()]).toEqual([...before.searchParams.keys()]);
      }),
    );
  });
});

describe("a percent-encoded macro", () => {
  const values = { ...EMPTY, click: "a b", user: "ü" };
  const WRITTEN: [template: string, filled: string][] = [
    ["%7Bclick%7D", "a%20b"],
    ["%7bclick%7d", "a%20b"],
    ["%7bclick%7D", "a%20b"],
    ["{click%7D", "a%20b"],
    ["%7Bclick}", "a%20b"],
    ["%7Bclick%7D%7Buser%7D{user}", "a%20b%C3%BC%C3%BC"],
    ["%7Bfoo%7D", "%7Bfoo%7D"],
    ["%7BClick%7D", "%7BClick%7D"],
    ["%7B%20click%7D", "%7B%20click%7D"],
    ["%257Bclick%257D", "%257Bclick%257D"],
    ["%7Bclick", "%7Bclick"],
    ["click%7D", "click%7D"],
    ["%7B%7Bclick%7D%7D", "%7Ba%20b%7D"],
    ["%7Buser%7", "%7Buser%7"],
  ];

  for (const [template, filled] of WRITTEN) {
    test(`gives ${filled} in a link for ${template}`, () => {
      for (const start of ["https://a.bc/?c=", "https://a.bc/", "https://a.bc/#", "tg://resolve?domain="]) {
        expect(fillLink(`${start}${template}`, values)).toBe(`${start}${filled}`);
      }
    });

    test(`gives it in the address of a link in the text too: ${template}`, () => {
      const [entity] = fill(`[x](https://a.bc/?c=${template})`, values).entities;
      expect(entity).toMatchObject({ url: `https://a.bc/?c=${filled}` });
    });
  }

  test("is one in an address that the text shows, and nowhere else in it", () => {
    const shown = "see https://a.bc/?c=%7Bclick%7D now";
    expect(fill(shown, values).text).toBe("see https://a.bc/?c=a%20b now");
    expect(fill(`*${shown}*`, values).text).toBe("see https://a.bc/?c=a%20b now");
    for (const text of ["%7Bclick%7D", "100%7Bclick%7D", "https://a.bc/ %7Bclick%7D", "https://%7Bclick%7D.bc/"]) {
      expect(fill(text, values).text).toBe(text);
    }
  });

  test("never goes into scheme or host, however it is written", () => {
    for (const macro of ["{click}", "%7Bclick%7D", "{click%7d"]) {
      for (const link of [
        `https://${macro}.bc/`,
        `https://a.bc${macro}`,
        `https://${macro}@a.bc/`,
        `https://a.bc:${macro}/`,
      ]) {
        expect(fillLink(link, { ...EMPTY, click: "evil" })).toBe(link);
      }
    }
  });
});

describe("the addresses of one message", () => {
  const LIMIT = 9_000;
  const bytesOf = ({ entities }: ParsedText) =>
    entities.reduce((sum, entity) => sum + (entity.type === "text_link" ? Buffer.byteLength(entity.url) : 0), 0);
  const links = (count: number, address: string) => Array.from({ length: count }, () => `[x](${address})`).join(" ");

  test("have at most 9,000 bytes whatever the values are; all values are shortened alike", () => {
    const values = { ...EMPTY, user: "ы".repeat(255), click: "7" };
    const filled = fill(links(20, "https://a.bc/?u={user}&c={click}"), values);
    expect(bytesOf(filled)).toBeLessThanOrEqual(LIMIT);
    expect(bytesOf(filled)).toBeGreaterThan(LIMIT - 20 * 6);
    const urls = new Set(filled.entities.map((entity) => (entity.type === "text_link" ? entity.url : "")));
    expect(urls.size).toBe(1);
    expect(new URL([...urls][0]!).searchParams.get("c")).toBe("7");
  });

  test("keep their values whole where they fit", () => {
    const filled = fill(links(5, "https://a.bc/?u={user}"), { ...EMPTY, user: "ы".repeat(255) });
    expect(bytesOf(filled)).toBe(5 * (16 + 255 * 6));
  });

  test("keep their values where the text alone is too much: it was saved before there was a limit", () => {
    const values = { ...EMPTY, click: "abc" };
    const filled = fill(links(10, `https://a.bc/${"x".repeat(1000)}?c={click}`), values);
    for (const entity of filled.entities) expect(entity).toMatchObject({ url: expect.stringMatching(/\?c=abc$/) });
  });
});

describe("what is cut", () => {
  const PEOPLE = [
    "👨‍👩‍👧‍👦",
    "🏳️‍🌈",
    "👍🏽",
    "🇩🇪",
    "e\u0301\u0323",
    "1️⃣",
    "각",
    "क्षि",
    "🏴\u{E0067}\u{E0062}\u{E0065}\u{E006E}\u{E0067}\u{E007F}",
    "\r\n",
  ];
  const segmenter = new Intl.Segmenter("en", { granularity: "grapheme" });
  const characters = (text: string) => Array.from(segmenter.segment(text), ({ segment }) => segment);

  test.each(PEOPLE)("is %j whole, or not at all", (person) => {
    const text = `ab${person}cd`;
    for (let limit = 0; limit <= text.length; limit++) {
      const kept = cutText(text, limit);
      expect(kept.length).toBeLessThanOrEqual(limit);
      expect(["", "a", "ab", `ab${person}`, `ab${person}c`, text]).toContain(kept);
    }
    expect(cutText(text, 2 + person.length)).toBe(`ab${person}`);
    expect(cutText(text, 1 + person.length)).toBe("ab".slice(0, Math.min(2, 1 + person.length)));
  });

  test("is never a family: text, caption and value end before it", () => {
    const family = "👨‍👩‍👧‍👦";
    const parsed = parseMarkdown(`${"x".repeat(4090)}*${family}*{user}`);
    const { text, entities } = fillText(parsed, { ...EMPTY, user: "y" });
    expect([text, entities]).toEqual([`${"x".repeat(4090)}…`, []]);
    expect(fill("{user}.", { user: `${"x".repeat(250)}${family}` }).text).toBe(`${"x".repeat(250)}.`);
  });

  test("is always whole characters of what it was, at most as many units, and as much as fits", () => {
    const textArb = fc
      .array(fc.oneof(fc.constantFrom(...PEOPLE, "a", " "), fc.string({ unit: "grapheme" })))
      .map((all) => all.join(""));
    fc.assert(
      fc.property(textArb, fc.nat(40), (text, limit) => {
        const kept = cutText(text, limit);
        const all = characters(text);
        const count = characters(kept).length;
        expect(kept).toBe(all.slice(0, count).join(""));
        expect(kept.length).toBeLessThanOrEqual(limit);
        if (count < all.length) expect(kept.length + all[count]!.length).toBeGreaterThan(limit);
      }),
    );
  });

  test("is quick for one character without end", () => {
    const started = performance.now();
    expect(cutText(`a${"\u0301".repeat(100_000)}`, 4096)).toBe("");
    // A step for each unit takes a few milliseconds; looking at all before for each one would take minutes.
    expect(performance.now() - started).toBeLessThan(5_000);
  });
});

describe("sampleMacroValues", () => {
  test("has a value for every macro, and takes the known ones over", () => {
    const values = sampleMacroValues({ campaign: "spring" });
    for (const name of MACRO_NAMES) expect(values[name]).not.toBe("");
    expect(values.campaign).toBe("spring");
  });
});

describe("isBlank", () => {
  test.each([
    "",
    " ",
    "\n \t",
    "\u00A0\u3000",
    "\u200B\u200D\u200F",
    "\u2800",
    "\u{E0020}",
    "\r",
    "\u202E",
    "\0",
    "\u2060\uFEFF",
    "\u3164",
    "\u00AD",
    "\uFE0F",
    "\u0085",
  ])("is true of %j", (text) => {
    expect(isBlank(text)).toBe(true);
  });

  test.each(["a", " . ", "😀", "\u200Bx", "…"])("is false of %j", (text) => {
    expect(isBlank(text)).toBe(false);
  });

  test("is true of a text whose macros are all empty", () => {
    expect(isBlank(fill("*{username}* {user}", {}).text)).toBe(true);
  });
});

const LINKS = [
  "https://example.com?c={click}",
  "https://example.com#{click}",
  "http://u@example.com:8080/{user}/{lead}?a={click}&b={time}#{chat}",
  "https://example.com/{user}{user}{user}",
  "tg://resolve?domain={username}",
];

const hostile = fc.constantFrom("", "..", "//evil.com", "@evil.com", "\\evil", "\0", "\uD800", "*_`[", "😀", "{user}");
const valueArb = fc.oneof(hostile, fc.string({ unit: "binary", maxLength: 20 }), fc.string({ minLength: 200 }));
const valuesArb = fc.record(
  Object.fromEntries(MACRO_NAMES.map((name) => [name, valueArb])) as Record<MacroName, typeof valueArb>,
);

interface Piece {
  type: "bold" | "italic" | "code" | "pre" | undefined;
  text: string;
}

const macroArb = fc.constantFrom(...MACRO_NAMES.map((name) => `{${name}}`), "{foo}", "a", " ", "😀", "ok ");
const templateArb = fc.array(
  fc.record<Piece>({
    type: fc.constantFrom(undefined, "bold", "italic", "code", "pre"),
    text: fc.array(macroArb, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("")),
  }),
  { maxLength: 8 },
);

function build(pieces: Piece[]): ParsedText {
  let text = "";
  const entities: TextEntity[] = [];
  for (const piece of pieces) {
    if (piece.type) entities.push({ type: piece.type, offset: text.length, length: piece.text.length });
    text += piece.text;
  }
  return { text, entities };
}

function plain(text: string): ParsedText {
  return { text, entities: [] };
}
