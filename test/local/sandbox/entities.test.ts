import { describe, expect, test } from "bun:test";
import { checkEntities } from "#services/local/sandbox/entities.ts";

const bold = (offset: number, length: number) => ({ type: "bold", offset, length });
const italic = (offset: number, length: number) => ({ type: "italic", offset, length });

describe("given entities", () => {
  test.each([
    ["nested ones", [bold(0, 5), italic(1, 2), italic(3, 2)]],
    ["equal ones", [bold(0, 5), italic(0, 5)]],
    ["one around a whole emoji", [bold(6, 2)]],
    ["a link", [{ type: "text_link", offset: 0, length: 2, url: "https://a.example" }]],
    ["none", []],
  ])("pass: %s", (_, entities) => {
    expect(checkEntities("hello 👋!", entities)).toBeUndefined();
  });

  test.each([
    ["past the end", [bold(5, 5)], "outside of the text"],
    ["of no length", [bold(0, 0)], "outside of the text"],
    ["before the text", [bold(-1, 2)], "outside of the text"],
    ["beginning inside an emoji", [bold(7, 2)], "begins in the middle"],
    ["ending inside an emoji", [bold(5, 2)], "ends in the middle"],
    ["not sorted", [bold(3, 1), italic(0, 1)], "not sorted"],
    ["narrower first", [bold(0, 1), italic(0, 3)], "not sorted"],
    ["crossing", [bold(0, 3), italic(2, 3)], "cross at offset 2"],
    ["inside code", [{ type: "code", offset: 0, length: 4 }, bold(1, 1)], "inside code"],
    ["of an unknown type", [{ type: "loud", offset: 0, length: 1 }], "Unknown MessageEntity type"],
    ["links without address", [{ type: "text_link", offset: 0, length: 1 }], "text_link needs a url"],
    ["not a list", "bold", "Array of MessageEntity"],
  ])("fail: %s", (_, entities, problem) => {
    const refusal = checkEntities("hello 👋!", entities);
    expect(refusal?.status).toBe(400);
    expect(refusal?.description).toStartWith("Bad Request: can't parse entities: ");
    expect(refusal?.description).toContain(problem);
  });
});
