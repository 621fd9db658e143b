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
} from "#services/message/macros.ts";
import { type ParsedText, parseMarkdown, type TextEntity } from "#services/message/markdown.ts";

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

describe("sampleMacroValues", () => {
  test("has a value for every macro, and takes the known ones over", () => {
    const values = sampleMacroValues({ campaign: "spring" });
    for (const name of MACRO_NAMES) expect(values[name]).not.toBe("");
    expect(values.campaign).toBe("spring");
  });
});

describe("isBlank", () => {
  test.each(["", " ", "\n \t", "\u00A0\u3000", "\u200B\u200D\u200F", "\u2800", "\u{E0020}", "\r", "\u202E", "\0"])(
    "is true of %j",
    (text) => {
      expect(isBlank(text)).toBe(true);
    },
  );

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
