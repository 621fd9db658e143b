/** Byte streams over HTTP/1, each with what has to come back. */

export interface Http1Case {
  readonly name: string;
  /** Written as Latin-1. */
  readonly bytes: string;
  /**
   * `refused`: one 4xx, then the end. `answered`: that many replies, each below 500, then the end. `cut`: we end our side
   * in the middle; one 4xx or nothing comes back, and the end.
   */
  readonly expects: "refused" | "cut" | number;
}

/** The last request of a case, after which the server closes. */
const last = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
const get = (target: string) => `GET ${target} HTTP/1.1\r\nhost: x\r\n\r\n`;
const withHeaders = (...lines: string[]) => `GET /nothing HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`;
const post = (headers: string, body: string) => `POST /nothing HTTP/1.1\r\nhost: x\r\n${headers}\r\n\r\n${body}`;
/** A call of what RPC servers answer without a token; other ports have nothing there. */
const openRpc = (rpc: string, headers: string, body: string) =>
  `POST /grpc.${rpc} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${headers}\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
const chunked = (body: string) => post("transfer-encoding: chunked", body);

function table(expects: Http1Case["expects"], cases: Readonly<Record<string, string>>): Http1Case[] {
  return Object.entries(cases).map(([name, bytes]) => ({ name, bytes, expects }));
}

const lines = table("refused", {
  "HTTP/0.9": "GET /\r\n",
  "a line without a version": "GET / \r\n\r\n",
  "HTTP/2.0 in the line": "GET / HTTP/2.0\r\nhost: x\r\n\r\n",
  "HTTP/1.2": "GET / HTTP/1.2\r\nhost: x\r\n\r\n",
  "HTTP/11": "GET / HTTP/11\r\nhost: x\r\n\r\n",
  "http/1.1 in small letters": "GET / http/1.1\r\nhost: x\r\n\r\n",
  "lines that end with LF": "GET / HTTP/1.1\nhost: x\n\n",
  "a lone CR": "GET / HTTP/1.1\rhost: x\r\r\n\r\n",
  "a space first": " GET / HTTP/1.1\r\nhost: x\r\n\r\n",
  "two spaces": "GET  / HTTP/1.1\r\nhost: x\r\n\r\n",
  "a tab": "GET\t/ HTTP/1.1\r\nhost: x\r\n\r\n",
  "no method": "/ HTTP/1.1\r\nhost: x\r\n\r\n",
  "a method that is no token": "G(T / HTTP/1.1\r\nhost: x\r\n\r\n",
  "a NUL first": "\0GET / HTTP/1.1\r\nhost: x\r\n\r\n",
  "bytes above ASCII": "\xff\xfe\xfd\r\n\r\n",
  "a TLS ClientHello": `\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03${"\xaa".repeat(500)}`,
  "a WebSocket frame": "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
  "a line without end": `GET /${"a".repeat(20_000)}`,
  "a long line": `GET /${"a".repeat(20_000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
});

const targets = table("refused", {
  "an empty target": "GET  HTTP/1.1\r\nhost: x\r\n\r\n",
  "a target without a slash": get("x"),
  "a target that is a bracket": get("["),
  "an asterisk with GET": get("*"),
  "an authority with CONNECT": "CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n",
  "another scheme": get("ftp://x/"),
  "a space in the target": get("/a b"),
  "a NUL in the target": get("/\0"),
  "a DEL in the target": get("/\x7f"),
  "a fragment": get("/#a"),
  "a backslash": get("/\\metrics"),
  "dot segments": get("/x/../metrics"),
  "encoded dot segments": get("/x/%2e%2E/metrics"),
});

const headers = table("refused", {
  "no host": "GET / HTTP/1.1\r\n\r\n",
  "two hosts": withHeaders("host: a", "host: b"),
  "a folded header": withHeaders("host: x", "a: b", " c"),
  "a space before the colon": withHeaders("host : x"),
  "an empty name": withHeaders("host: x", ": y"),
  "a header without a colon": withHeaders("host: x", "abc"),
  "a name that is no token": withHeaders("host: x", "a(b: c"),
  "a NUL in a value": withHeaders("host: x", "a: b\0c"),
  "a CR in a value": withHeaders("host: x", "a: b\rc"),
  "an LF in a value": withHeaders("host: x", "a: b\nc"),
  "a long header": withHeaders("host: x", `a: ${"b".repeat(20_000)}`),
  "a header without end": `GET / HTTP/1.1\r\nhost: x\r\na: ${"b".repeat(20_000)}`,
  "many headers": withHeaders("host: x", ...Array.from({ length: 200 }, (_, i) => `x${i}: 1`)),
  "an expectation that nobody knows": withHeaders("host: x", "expect: the unexpected"),
  "two tokens": withHeaders("host: x", "authorization: Bearer a", "authorization: Bearer b"),
});

const framings = table("refused", {
  "two lengths": post("content-length: 3\r\ncontent-length: 3", "abc"),
  "two different lengths": post("content-length: 3\r\ncontent-length: 4", "abcd"),
  "a list of lengths": post("content-length: 3, 3", "abc"),
  "a negative length": post("content-length: -1", ""),
  "a length with a sign": post("content-length: +3", "abc"),
  "a hexadecimal length": post("content-length: 0x3", "abc"),
  "a length of twenty digits": post("content-length: 99999999999999999999", "abc"),
  "an empty length": post("content-length: ", ""),
  "a length and chunks": post("content-length: 3\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
  "chunks and a length": post("transfer-encoding: chunked\r\ncontent-length: 3", "0\r\n\r\n"),
  "two codings": post("transfer-encoding: chunked\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
  "a coding before chunked": post("transfer-encoding: gzip, chunked", "0\r\n\r\n"),
  "a coding after chunked": post("transfer-encoding: chunked, identity", "0\r\n\r\n"),
  "a coding that nobody knows": post("transfer-encoding: xchunked", "0\r\n\r\n"),
  "chunks over HTTP/1.0": "POST /nothing HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
  "a chunk size that is no number": chunked("x\r\n"),
  "a negative chunk size": chunked("-1\r\n"),
  "a chunk size of nine digits": chunked("111111111\r\n"),
  "a chunk that is longer than its size": chunked("1\r\nabc\r\n"),
  "a chunk size that ends with LF": chunked("1\na\n0\n\n"),
  "a chunk's extension without end": chunked(`1;${"x".repeat(1_000)}`),
  "a trailer without end": chunked(`0\r\n${"a: b\r\n".repeat(5_000)}`),
});

const cut = table("cut", {
  nothing: "",
  "half a preface": "PR",
  "half a line": "GET /heal",
  "half a header": "GET / HTTP/1.1\r\nhos",
  "headers without the empty line": "GET / HTTP/1.1\r\nhost: x\r\n",
  "half a body": post("content-length: 100", "abc"),
  "a body of 999 TB": post("content-length: 999999999999999", "abc"),
  "half a chunk": chunked("64\r\nabc"),
  "half a size": chunked("6"),
  "chunks without the last one": chunked("3\r\nabc\r\n"),
});

const answered = [
  ...table(1, {
    "HTTP/1.0 without a host": "GET / HTTP/1.0\r\n\r\n",
    "HTTP/1.0 that would stay": "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
    "empty lines first": `\r\n\r\n\r\n${last}`,
    "a header value above ASCII": withHeaders("host: x", "a: \xff\xfe", "connection: close"),
    "an unknown upgrade": withHeaders("host: x", "upgrade: nothing", "connection: upgrade, close"),
    "upgrade to h2c": withHeaders("host: x", "upgrade: h2c", "http2-settings: AAMAAABk", "connection: upgrade, close"),
    "upgrade to WebSocket": withHeaders(
      ...["host: x", "upgrade: websocket", "connection: upgrade, close"],
      ...["sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version: 13"],
    ),
    "a health check": openRpc("health.v1.Health/Check", "content-type: application/json", "{}"),
    "a list of healths": openRpc("health.v1.Health/List", "content-type: application/json", "{}"),
    "a message that is no protobuf": openRpc("health.v1.Health/Check", "content-type: application/proto", "\xff\xff"),
    "a name that is no UTF-8": openRpc("health.v1.Health/Check", "content-type: application/proto", "\n\x02\xff\xfe"),
    "a message that is no gzip": openRpc(
      "health.v1.Health/Check",
      "content-type: application/json\r\ncontent-encoding: gzip",
      "{}",
    ),
    "half a gzip": openRpc(
      "health.v1.Health/Check",
      "content-type: application/json\r\ncontent-encoding: gzip",
      "\x1f\x8b\x08\0\0\0\0\0\0\x03\xab",
    ),
    "a stream both ways": openRpc(
      "reflection.v1.ServerReflection/ServerReflectionInfo",
      "content-type: application/grpc-web+proto",
      "\0\0\0\0\0",
    ),
    "a body with GET": `GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc`,
  }),
  ...table(2, {
    "a form above a path of bytes": `${get("/\xff\xfe/\xd0\x9f")}${last}`,
    "percent signs that encode nothing": `${get("/%zz%")}${last}`,
    "an absolute target": `${get("http://elsewhere:1/nothing")}${last}`,
    "an absolute target without a path": `${get("http://elsewhere?q")}${last}`,
    "two slashes": `${get("//")}${last}`,
    "two slashes and a host": `${get("//elsewhere/x")}${last}`,
    "OPTIONS with an asterisk": `OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n${last}`,
    "chunks with extensions and trailers": `${chunked("3;a=b\r\nabc\r\n00\r\nx: y\r\n\r\n")}${last}`,
    "a body that is announced and sent": `${post("expect: 100-continue\r\ncontent-length: 3", "abc")}`.replace(
      "host: x",
      "host: x\r\nconnection: close",
    ),
  }),
];

/** Requests that come at once are answered one after the other, and what is none ends it. */
const pipelined = [
  ...table(21, {
    "twenty requests at once": `${`${get("/nothing")}${post("content-length: 3", "abc")}`.repeat(10)}${last}`,
  }),
  ...table(3, { "two requests and rubbish": `${get("/")}${get("/nothing")}\x00rubbish` }),
];

export const http1Cases: readonly Http1Case[] = [
  ...[...lines, ...targets, ...headers, ...framings],
  ...[...cut, ...answered, ...pipelined],
];
