import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { createChunkReader } from "#services/platform/transport/http1-chunks.ts";

/** What the reader makes of bytes that come in the given pieces. */
function read(text: string, pieceBytes = text.length) {
  const reader = createChunkReader();
  const bytes = Buffer.from(text, "latin1");
  let body = "";
  let used = 0;
  for (let at = 0; at < bytes.length && !reader.isDone; at += pieceBytes) {
    used += reader.read(bytes.subarray(at, at + pieceBytes), (part) => {
      body += part.toString("latin1");
    });
  }
  return { body, rest: text.slice(used), isDone: reader.isDone };
}

describe("createChunkReader", () => {
  test("takes a body apart, however its bytes arrive", () => {
    const text = "3;ext=1\r\nabc\r\n0A \r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nGET";
    for (const pieceBytes of [1, 2, 3, 7, text.length]) {
      expect(read(text, pieceBytes)).toEqual({ body: "abc0123456789", rest: "GET", isDone: true });
    }
  });

  test("gives back what was put in", () => {
    const part = fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), fc.integer({ min: 1, max: 30 }), (parts, pieceBytes) => {
        const text = `${parts.map((one) => `${one.length.toString(16)}\r\n${one}\r\n`).join("")}0\r\n\r\n`;
        expect(read(text, pieceBytes)).toEqual({ body: parts.join(""), rest: "", isDone: true });
      }),
    );
  });

  test("takes small chunks, but not only and for ever", () => {
    expect(read(`${"1\r\na\r\n".repeat(9_000)}0\r\n\r\n`).body).toHaveLength(9_000);
    expect(() => read("1\r\na\r\n".repeat(20_000))).toThrow("too small");
    const large = `10000\r\n${"a".repeat(65_536)}\r\n`.repeat(10);
    expect(read(`${large}${"1\r\na\r\n".repeat(20_000)}`).isDone).toBe(false);
  });

  test.each([
    ["extension", `1;${"x".repeat(300)}`],
    ["trailer", `0\r\n${"a: b\r\n".repeat(3_000)}`],
  ])("refuses an endless %s", (_what, text) => {
    expect(() => read(text)).toThrow();
  });

  test.each([
    "x\r\n",
    "-1\r\n",
    "0x1\r\n",
    " 1\r\n",
    "111111111\r\n",
    "\r\n",
    "1\n",
    "1\r\nab\r\n",
    "1\r\na\n",
    "1\ra",
  ])("refuses %j", (text) => {
    expect(() => read(text.padEnd(300, "x"))).toThrow();
  });
});
