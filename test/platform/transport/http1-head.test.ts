import { describe, expect, test } from "bun:test";
import { isRefusal, mayBeHttp1, readHttp1Head } from "#services/platform/transport/http1-head.ts";

const read = (...lines: string[]) => readHttp1Head(lines.join("\r\n"), 20);

describe("readHttp1Head", () => {
  test("reads a request", () => {
    const head = read("POST http://x/a?b HTTP/1.1", "Host: y", "content-LENGTH:  12 ", "X-A: 1", "x-a:2");
    if (isRefusal(head)) throw new Error(head.message);
    expect(head).toMatchObject({ version: "1.1", method: "POST", target: "/a?b", body: 12, keepsAlive: true });
    expect(head.header.get("x-a")).toBe("1, 2");
  });

  test.each([
    ["GET / HTTP/1.0", true],
    ["OPTIONS * HTTP/1.1", true],
    ["FOO / HTTP/1.1", true],
    ["GET / HTTP/2.0", false],
    ["GET / HTTP/1.2", false],
    ["GET /", false],
    ["GET  / HTTP/1.1", false],
    ["GET / HTTP/1.1 ", false],
    [" GET / HTTP/1.1", false],
    ["GET /a b HTTP/1.1", false],
    ["GET\t/ HTTP/1.1", false],
    ["G\u00cbT / HTTP/1.1", false],
    ["CONNECT x:443 HTTP/1.1", false],
    ["GET * HTTP/1.1", false],
    ["GET x HTTP/1.1", false],
  ])("takes the line %j: %p", (line, taken) => {
    expect(isRefusal(read(line, "host: x"))).toBe(!taken);
  });

  test.each([
    [["host: "], true],
    [["host: ["], true],
    [["host: a b"], true],
    [[], false],
    [["host: a", "Host: a"], false],
    [["host: a", "content-length: 1", "content-length: 1"], false],
    [["host: a", "content-length: 1, 1"], false],
    [["host: a", "content-length: +1"], false],
    [["host: a", "content-length: 0x1"], false],
    [["host: a", "content-length: 1111111111111111"], false],
    [["host: a", "content-length: "], false],
    [["host: a", "transfer-encoding: CHUNKED"], true],
    [["host: a", "transfer-encoding: chunked", "content-length: 1"], false],
    [["host: a", "transfer-encoding: gzip, chunked"], false],
    [["host: a", "transfer-encoding: identity"], false],
    [["host: a", "transfer-encoding: chunked", "transfer-encoding: chunked"], false],
    [["host: a", "x : 1"], false],
    [["host: a", " x: 1"], false],
    [["host: a", "x"], false],
    [["host: a", ": 1"], false],
    [["host: a", "x: \0"], false],
    [["host: a", "x: a\rb"], false],
    [["host: a", "x: a\nb"], false],
    [["host: a", "x: \u00e9\t!"], true],
    [["host: a", "expect: 100-Continue"], true],
    [["host: a", "expect: x"], false],
    [["host: a", ...Array.from({ length: 20 }, (_, i) => `x${i}: 1`)], false],
  ])("takes the headers %j: %p", (headers, taken) => {
    expect(isRefusal(read("POST / HTTP/1.1", ...headers))).toBe(!taken);
  });

  test("keeps no connection of HTTP/1.0, and none that is to be closed", () => {
    for (const head of [
      read("GET / HTTP/1.0", "connection: keep-alive"),
      read("GET / HTTP/1.1", "host: a", "connection: x, CLOSE"),
    ]) {
      expect(head).toMatchObject({ keepsAlive: false });
    }
  });

  test("knows early what will never be a request", () => {
    for (const some of ["G", "GET / HTTP/1.1\r\nHo", "GET / HT"]) expect(mayBeHttp1(Buffer.from(some))).toBe(true);
    for (const none of ["\x16\x03\x01", "GET /\r\n", "GET / HTTP/1.1\nHost", "\0", " "]) {
      expect(mayBeHttp1(Buffer.from(none, "latin1"))).toBe(false);
    }
  });
});
