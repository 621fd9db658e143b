import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { checkEntities } from "#services/local/sandbox/entities.ts";
import { parseLegacyMarkdown } from "#services/local/sandbox/markdown.ts";

describe("legacy Markdown", () => {
  test("gives bold, italic, code and links with UTF-16 offsets", () => {
    expect(parseLegacyMarkdown("👋 *Hi* _you_ `x` [site](https://a.example)")).toEqual({
      text: "👋 Hi you x site",
      entities: [
        { type: "bold", offset: 3, length: 2 },
        { type: "italic", offset: 6, length: 3 },
        { type: "code", offset: 10, length: 1 },
        { type: "text_link", url: "https://a.example", offset: 12, length: 4 },
      ],
    });
  });

  test("reads a pre block with its language", () => {
    expect(parseLegacyMarkdown("```ts\nlet a_b = 1\n```")).toEqual({
      text: "let a_b = 1\n",
      entities: [{ type: "pre", language: "ts", offset: 0, length: 12 }],
    });
    expect(parseLegacyMarkdown("```\nx```")).toEqual({ text: "x", entities: [{ type: "pre", offset: 0, length: 1 }] });
  });

  test("unescapes the four characters outside an entity, and only there", () => {
    expect(parseLegacyMarkdown("a\\_b \\*c \\[d \\`e \\.f")).toEqual({ text: "a_b *c [d `e \\.f", entities: [] });
    expect(parseLegacyMarkdown("*a\\*")).toEqual({ text: "a\\", entities: [{ type: "bold", offset: 0, length: 2 }] });
  });

  test.each([
    ["john_doe", 4],
    ["👋 *Hi", 5],
    ["é [x", 3],
    ["*ok* `no", 5],
    ["```never``", 0],
  ])("fails %p at byte %d", (source, failedAtByte) => {
    expect(parseLegacyMarkdown(source)).toEqual({ failedAtByte });
  });

  test("leaves plain text where the address is no URL", () => {
    expect(parseLegacyMarkdown("[a](nowhere) [b]")).toEqual({ text: "a b", entities: [] });
  });

  test("gives entities that pass its own check, whatever it is given", () => {
    const pieces = fc.constantFrom("_", "*", "`", "```", "[", "](", ")", "\\", "a", "é", "👋", "\n", "http://a.b");
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => {
        const parsed = parseLegacyMarkdown(parts.join(""));
        if ("failedAtByte" in parsed) return;
        expect(checkEntities(parsed.text, parsed.entities)).toBeUndefined();
      }),
    );
  });
});
