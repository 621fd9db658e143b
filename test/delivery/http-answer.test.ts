import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { HttpAnswer } from "#services/delivery/http-answer.ts";

/** What an answer says after its bytes have come in these pieces. */
function read(pieces: readonly Buffer[]) {
  const answer = new HttpAnswer();
  for (const piece of pieces) answer.feed(piece);
  const { status, isWhole, isBroken, keepsConnection, retryAfter } = answer;
  return { status, isWhole, isBroken, keepsConnection, retryAfter, text: isWhole ? answer.text : undefined };
}

const readText = (text: string) => read([Buffer.from(text, "latin1")]);

function cutAt(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, i) => bytes.subarray(at[i]!, end));
}

const BODY = '{"ok":true,"result":{}}';
const CHUNKED = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\n{"ok"\r\n12\r\n:true,"result":{}}\r\n0\r\nTrailer: 1\r\n\r\n`;
const SIZED = `HTTP/1.1 200 OK\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;

const whole: [string, string, Partial<ReturnType<typeof read>>][] = [
  ["with a length", SIZED, { status: 200, text: BODY, keepsConnection: true }],
  ["in chunks", CHUNKED, { status: 200, text: BODY, keepsConnection: true }],
  ["behind interim ones", `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n${SIZED}`, { text: BODY }],
  ["of HTTP/1.0", SIZED.replace("1.1", "1.0"), { text: BODY, keepsConnection: false }],
  ["that closes", SIZED.replace("Content", "Connection: close\r\nContent"), { text: BODY, keepsConnection: false }],
  ["without a body", "HTTP/1.1 204 No Content\r\n\r\n", { status: 204, text: "", keepsConnection: true }],
  ["of no length", "HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", { status: 502, text: "" }],
  ["without a reason", SIZED.replace(" OK", ""), { text: BODY }],
  ["that says when to come again", SIZED.replace("Content", "Retry-After:  7 \r\nContent"), { retryAfter: "7" }],
];

const broken: [string, string][] = [
  ["no HTTP", "SSH-2.0-OpenSSH\r\n\r\n"],
  ["HTTP/2", SIZED.replace("1.1", "2")],
  ["a status that is none", SIZED.replace("200", "999")],
  ["another protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"],
  ["an endless header", `HTTP/1.1 200 OK\r\n${"x-filler: 1\r\n".repeat(2_000)}`],
  ["an endless line", `HTTP/1.1 200 OK\r\nx: ${"a".repeat(20_000)}`],
  ["endless interim answers", "HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000)],
  ["a line that is no header", "HTTP/1.1 200 OK\r\nno header\r\n\r\n"],
  ["a folded header", "HTTP/1.1 200 OK\r\na: b\r\n c\r\nContent-Length: 0\r\n\r\n"],
  ["two lengths", SIZED.replace("Content", "Content-Length: 1\r\nContent")],
  ["a length and chunks", CHUNKED.replace("Transfer", "Content-Length: 5\r\nTransfer")],
  ["a negative length", SIZED.replace(/Length: \d+/, "Length: -1")],
  ["a length of letters", SIZED.replace(/Length: \d+/, "Length: 0x10")],
  ["a huge length", SIZED.replace(/Length: \d+/, "Length: 99999999999")],
  ["a coding that nobody asked for", CHUNKED.replace("chunked", "gzip, chunked")],
  ["a chunk without a length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n"],
  ["a chunk that is longer than told", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"],
  ["a huge chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n"],
  ["endless chunks", `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${"4\r\nabcd\r\n".repeat(100_000)}`],
  ["an endless extension", `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;${"x".repeat(5_000)}`],
  ["an endless trailer", `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${"a: b\r\n".repeat(5_000)}`],
  ["an endless body", `HTTP/1.1 200 OK\r\n\r\n${"x".repeat(300_000)}`],
];

describe("an answer", () => {
  test.each(whole)("%s is read", (_, text, expected) => {
    expect(readText(text)).toMatchObject({ isWhole: true, isBroken: false, ...expected });
  });

  test.each(broken)("that has %s is broken", (_, text) => {
    expect(readText(text)).toMatchObject({ isWhole: false, isBroken: true });
  });

  test("without a length is whole when its connection ends", () => {
    const answer = new HttpAnswer();
    answer.feed(Buffer.from("HTTP/1.1 200 OK\r\n\r\nabc"));
    expect(answer.isWhole).toBe(false);
    answer.end();
    expect([answer.isWhole, answer.text, answer.keepsConnection]).toEqual([true, "abc", false]);
  });

  test("keeps its status where its body breaks", () => {
    const answer = readText("HTTP/1.1 413 Too Large\r\nContent-Length: 99999999999\r\n\r\n");
    expect(answer).toMatchObject({ status: 413, isBroken: true });
  });

  test("does not keep its connection where more came than belongs to it", () => {
    expect(readText(`${SIZED}HTTP/1.1 200 OK\r\n`)).toMatchObject({
      isWhole: true,
      text: BODY,
      keepsConnection: false,
    });
  });

  test("says the same however it is cut", () => {
    const texts = [...whole.map(([, text]) => text), ...broken.map(([, text]) => text.slice(0, 30_000))];
    fc.assert(
      fc.property(fc.constantFrom(...texts), fc.array(fc.nat(30_000), { maxLength: 8 }), (text, places) => {
        const bytes = Buffer.from(text, "latin1");
        expect(read(cutAt(bytes, places))).toEqual(read([bytes]));
      }),
    );
  });

  test("says the same byte by byte", () => {
    for (const text of [CHUNKED, SIZED]) {
      const bytes = Buffer.from(text);
      expect(read(cutAt(bytes, [...bytes.keys()]))).toEqual(read([bytes]));
    }
  });

  test("of any bytes at all is read without a fault, and within its bounds", () => {
    const prefix = fc.constantFrom("", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    fc.assert(
      fc.property(prefix, fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 5 }), (start, pieces) => {
        const answer = read([Buffer.from(start), ...pieces.map((piece) => Buffer.from(piece))]);
        expect(answer.isWhole && answer.isBroken).toBe(false);
      }),
    );
  });
});
