import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { MarkdownError, parseMarkdown, type TextEntity } from "#services/core/message/markdown.ts";

const bold = (offset: number, length: number): TextEntity => ({ type: "bold", offset, length });
const italic = (offset: number, length: number): TextEntity => ({ type: "italic", offset, length });
const code = (offset: number, length: number): TextEntity => ({ type: "code", offset, length });
const pre = (offset: number, length: number, language?: string): TextEntity => ({
  type: "pre",
  offset,
  length,
  ...(language && { language }),
});
const link = (offset: number, length: number, url: string): TextEntity => ({ type: "text_link", offset, length, url });

const CASES: [why: string, source: string, text: string, entities: TextEntity[]][] = [
  ["plain text", "Hello, world.", "Hello, world.", []],
  ["nothing", "", "", []],
  ["each simple kind", "*b* _i_ `c`", "b i c", [bold(0, 1), italic(2, 1), code(4, 1)]],
  ["entities that touch", "*a**b*", "ab", [bold(0, 1), bold(1, 1)]],
  ["an entity inside a word", "un*believ*able", "unbelievable", [bold(2, 6)]],
  ["no nesting: other marks are text", "*a _b_ `c` [d](e)*", "a _b_ `c` [d](e)", [bold(0, 16)]],
  ["no nesting in a link's text", "[*b* _i_](http://a.bc/)", "*b* _i_", [link(0, 7, "http://a.bc/")]],
  ["an empty entity vanishes", "a**b", "ab", []],
  ["an underscore pair vanishes before an italic", "___a_", "a", [italic(0, 1)]],
  ["an empty pre vanishes", "a``````b", "ab", []],
  ["escapes of all four", "\\_\\*\\`\\[x]", "_*`[x]", []],
  ["a backslash before anything else stays", "a\\b \\] \\( \\\\ \\", "a\\b \\] \\( \\\\ \\", []],
  ["two backslashes do not cancel out", "\\\\*", "\\*", []],
  ["an escaped mark does not open", "\\*a *b*", "*a b", [bold(3, 1)]],
  ["a backslash inside an entity is literal", "*a\\*b", "a\\b", [bold(0, 2)]],
  ["a backslash inside a link's text is literal", "[a\\](http://a.bc/)", "a\\", [link(0, 2, "http://a.bc/")]],
  ["an emoji before an entity counts as two", "😀 *b* 👍🏽_i_", "😀 b 👍🏽i", [bold(3, 1), italic(9, 1)]],
  ["an emoji inside an entity counts as two", "*😀*", "😀", [bold(0, 2)]],
  ["Cyrillic counts as one", "Привет, *мир*", "Привет, мир", [bold(8, 3)]],
  ["line feeds inside entities", "*a\nb*", "a\nb", [bold(0, 3)]],
  ["macros are text", "{user} *{click}* {foo}", "{user} {click} {foo}", [bold(7, 7)]],
  ["pre", "```\nx = 1```", "x = 1", [pre(0, 5)]],
  ["the first word in pre as its language", "```x = 1```", "= 1", [pre(0, 3, "x")]],
  ["pre drops one line end after its mark", "```\nx\n```", "x", [pre(0, 1)]],
  ["pre drops a Windows line end", "```\r\nx```", "x", [pre(0, 1)]],
  ["pre drops one line end after its language", "x```a\n\nb```", "x\nb", [pre(2, 1, "a")]],
  ["pre with a language", "```js\nlet x\n```.", "let x\n.", [pre(0, 6, "js")]],
  ["a language ends at a space too", "```c++ int```!", "int!", [pre(0, 3, "c++")]],
  ["one word in pre is no language", "```word```", "word", [pre(0, 4)]],
  ["single backticks inside pre", "```a `b` ``c```", "`b` ``c", [pre(0, 7, "a")]],
  ["Markdown inside pre is text", "```\n*a* [b](c)```", "*a* [b](c)", [pre(0, 10)]],
  ["a link", "[a b](https://example.com/x?y=1#z)", "a b", [link(0, 3, "https://example.com/x?y=1#z")]],
  ["a link without scheme or path", "[a](Example.COM)", "a", [link(0, 1, "http://example.com/")]],
  ["a link with a query and no path", "[a](https://a.bc?x=1)", "a", [link(0, 1, "https://a.bc/?x=1")]],
  ["a link with a port and a user", "[a](http://u:p@a.bc:080/)", "a", [link(0, 1, "http://u:p@a.bc:80/")]],
  ["a link to an IDN", "[a](https://пример.рф/я)", "a", [link(0, 1, "https://пример.рф/я")]],
  ["a space in a path", "[a](https://a.bc/x y )", "a", [link(0, 1, "https://a.bc/x%20y")]],
  ["a link ends at the first parenthesis", "[a](https://a.bc/x(y))", "a)", [link(0, 1, "https://a.bc/x(y")]],
  ["a link with macros", "[a](https://a.bc/{lead}?c={click})", "a", [link(0, 1, "https://a.bc/{lead}?c={click}")]],
  ["a mention", "[a](tg://user?id=123)", "a", [link(0, 1, "tg://user?id=123")]],
  ["a short tg link", "[a](tg:resolve?domain=b)", "a", [link(0, 1, "tg://resolve?domain=b")]],
  ["a tonsite link", "[a](tonsite://x.ton)", "a", [link(0, 1, "tonsite://x.ton/")]],
  ["brackets alone link to themselves", "[example.com]", "example.com", [link(0, 11, "http://example.com/")]],
  ["brackets around words are dropped", "[hello] (x)", "hello (x)", []],
  ["an address without a dot", "[a](http://localhost/)", "a", []],
  ["an address with another scheme", "[a](ftp://a.bc/)", "a", []],
  ["an address with a bad port", "[a](http://a.bc:99999/)", "a", []],
  ["an address with a macro as host", "[a](https://{click}.a.bc/)", "a", []],
  ["an address with a macro as user", "[a](https://{click}@a.bc/)", "a", []],
  ["an address that is a macro", "[a]({click})", "a", []],
  ["an empty address", "[a]()", "a", []],
  ["an IPv6 address", "[a](http://[::1]/x)", "a", [link(0, 1, "http://[::1]/x")]],
  ["a tg address with a port", "[a](tg://resolve:80/)", "a", []],
  ["a link without text leaves its address", "[](http://a.bc/)", "(http://a.bc/)", []],
  ["a hidden link keeps its space", "[ ](http://a.bc/)x", " x", [link(0, 1, "http://a.bc/")]],
  ["space at both ends", "\n  a b \n", "a b", []],
  ["space before and after entities", " *a* \n", "a", [bold(0, 1)]],
  ["space at an entity's start and end", "x * a * y", "x  a  y", [bold(3, 2)]],
  ["space at an entity's end at the end", "*a *", "a", [bold(0, 1)]],
  ["an entity of space", "a * * b", "a   b", []],
  ["space only", " \n *  * ", "", []],
  ["a space-only link at the end", "a [ ](http://a.bc/)", "a", []],
  ["carriage returns and tabs", "a\r\n*b\tc*", "a\nb c", [bold(2, 3)]],
  ["direction overrides", "a\u202Eb *c*", "ab c", [bold(3, 1)]],
];

const UNCLOSED: [source: string, offset: number, message: RegExp][] = [
  ["*a", 0, /^The \* at character 1 is never closed: .*\\\*/],
  ["hello *bold", 6, /^The \* at character 7 /],
  ["😀 _a", 3, /^The _ at character 3 .*\\_/],
  ["john_doe", 4, /\\_ for a plain underscore/],
  ["a `b", 2, /^The ` at character 3 .*\\`/],
  ["*a*b*", 4, /character 5/],
  ["*a\\*b*", 5, /character 6/],
  ["```a``", 0, /^The ``` at character 1 .*another ```/],
  ["```", 0, /```/],
  ["[a", 0, /^The \[ at character 1 .*\\\[/],
  ["[a (b)", 0, /\[text\]\(address\)/],
  ["[a](http://a.bc/ and more", 3, /^The \( at character 4 .*address with \)/],
];

describe("parseMarkdown", () => {
  for (const [why, source, text, entities] of CASES) {
    test(`reads ${why}: ${JSON.stringify(source)}`, () => {
      expect(parseMarkdown(source)).toEqual({ text, entities });
    });
  }

  for (const [source, offset, message] of UNCLOSED) {
    test(`points at what is never closed in ${JSON.stringify(source)}`, () => {
      const error = caught(() => parseMarkdown(source));
      expect(error).toBeInstanceOf(MarkdownError);
      expect((error as MarkdownError).offset).toBe(offset);
      expect((error as MarkdownError).message).toMatch(message);
    });
  }

  test("gives entities in order, apart, in range and not through a surrogate pair", () => {
    fc.assert(
      fc.property(markdownish, (source) => {
        const parsed = tryParse(source);
        let end = 0;
        for (const { offset, length } of parsed?.entities ?? []) {
          expect(offset).toBeGreaterThanOrEqual(end);
          expect(length).toBeGreaterThan(0);
          end = offset + length;
          expect(parsed!.text.slice(offset, end).isWellFormed()).toBe(true);
        }
        expect(end).toBeLessThanOrEqual(parsed?.text.length ?? 0);
      }),
      { numRuns: 500 },
    );
  });

  test("takes linear time on 16,384 characters of anything", () => {
    const seeds = [
      "*",
      "_",
      "`",
      "[",
      "(",
      "\\",
      "[]",
      "[a](",
      "[a](b)",
      "```",
      "```a ",
      "**",
      "\\*",
      "[a.b]",
      "😀",
      " ",
    ];
    seeds.push("*a*", "[[", "]](", "[x](http://a.bc/ ", "``", "`\n", "[a](a@", "[a](:1)", "\r", "{user}");
    const started = performance.now();
    for (const seed of seeds) {
      const filler = seed.repeat(Math.floor(16_384 / seed.length));
      for (const source of [filler, `[a](${filler}`, `[a](${filler})`, `${filler}x`, `[${filler}](x.y/)`])
        tryParse(source);
    }
    // 130 sources take some 150 ms; a quadratic step would take that for each.
    expect(performance.now() - started).toBeLessThan(5000);
  });
});

/** The source that parses to exactly this text. */
function escapeMarkdown(text: string): string {
  return text.replace(/[_*`[]/g, "\\$&");
}

describe("a text whose signs are all escaped", () => {
  test("parses to itself", () => {
    const shown = markdownish.map((text) => text.replace(/^[\s]+|[\s]+$/g, ""));
    fc.assert(
      fc.property(shown, (text) => {
        expect(parseMarkdown(escapeMarkdown(text))).toEqual({ text, entities: [] });
      }),
      { numRuns: 500 },
    );
  });

  test("lets a user name stand inside a formatted text", () => {
    expect(parseMarkdown(`*Hi* ${escapeMarkdown("john_doe")}`).text).toBe("Hi john_doe");
  });
});

const markdownish = fc
  .array(fc.constantFrom("*", "_", "`", "```", "[", "](", "]", ")", "\\", " ", "\n", "a", "é", "😀", "x.yz", "http://"))
  .map((parts) => parts.join(""));

function tryParse(source: string) {
  try {
    return parseMarkdown(source);
  } catch (error) {
    expect(error).toBeInstanceOf(MarkdownError);
    return undefined;
  }
}

function caught(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}
