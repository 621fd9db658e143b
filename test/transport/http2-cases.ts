/** Byte streams over HTTP/2, each with what has to come back. */
import {
  type Field,
  flags,
  frame,
  frameType,
  headerBlock,
  headers,
  hpackInteger,
  ping,
  preface,
  requestFields,
  reset,
  settings,
  uint32,
  windowUpdate,
} from "#test/support/http2-frames.ts";

export interface Http2Case {
  readonly name: string;
  /** After the preface and empty settings, unless `isWhole`. */
  readonly bytes: Buffer;
  readonly isWhole?: boolean;
  /** The status of the first response, or: a 4xx, a reset or the end of the connection. `ignored`: nothing of these. */
  readonly expects: number | "refused" | "ignored";
}

const ended = flags.endHeaders | flags.endStream;
const { data, continuation, goAway, pushPromise, priority } = frameType;

/** One request with these fields. */
const ask = (...fields: Field[]) => headers(1, fields, ended);
const askFor = (path: string, ...more: Field[]) => ask(...requestFields(path, ...more));
const pseudo = (change: Record<string, string | undefined>, ...more: Field[]): Buffer => {
  const all = { ":method": "GET", ":scheme": "http", ":authority": "x", ":path": "/healthz", ...change };
  const given = Object.entries(all).filter((field): field is [string, string] => field[1] !== undefined);
  return ask(...given, ...more);
};
/** A POST whose body is still to come. */
const open = headers(1, [[":method", "POST"], ...requestFields("/nothing").slice(1)], flags.endHeaders);
/** A gRPC call of what is answered without a token, with this message. */
const grpc = (rpc: string, message: string, ...more: Field[]) => {
  const fields = requestFields(`/grpc.${rpc}`, ["content-type", "application/grpc"], ...more).slice(1);
  const body = Buffer.from(`\0\0\0\0${String.fromCharCode(message.length)}${message}`, "latin1");
  return all(headers(1, [[":method", "POST"], ...fields], flags.endHeaders), raw(data, body, flags.endStream, 1));
};
const reflection = "reflection.v1.ServerReflection/ServerReflectionInfo";
const alphaReflection = "reflection.v1alpha.ServerReflection/ServerReflectionInfo";
const raw = (type: number, payload: Buffer | string, bits = 0, stream = 0) =>
  frame({ type, payload: Buffer.from(payload as string), flags: bits, stream });
const block = (payload: Buffer, bits: number = ended) =>
  frame({ type: frameType.headers, flags: bits, stream: 1, payload });
const all = (...parts: Buffer[]) => Buffer.concat(parts);
const times = (count: number, part: Buffer) => Buffer.concat(Array.from({ length: count }, () => part));
const healthz = headerBlock(requestFields("/healthz"));

function table(expects: Http2Case["expects"], cases: Readonly<Record<string, Buffer>>): Http2Case[] {
  return Object.entries(cases).map(([name, bytes]) => ({ name, bytes, expects }));
}

const answered = [
  ...table(200, {
    "a request": askFor("/healthz"),
    "an authority that is a bracket": pseudo({ ":authority": "[" }),
    "a scheme that nobody knows": pseudo({ ":scheme": "gopher" }),
    HEAD: pseudo({ ":method": "HEAD" }),
    "90 cookies": askFor("/healthz", ...Array.from({ length: 90 }, (): Field => ["cookie", "a=1"])),
    "a health check": grpc("health.v1.Health/Check", ""),
    "a health check that is no protobuf": grpc("health.v1.Health/Check", "\xff\xff"),
    "a health watch that is no protobuf": grpc("health.v1.Health/Watch", "\xff\xff"),
    "a question to reflection": grpc(reflection, "\x3a\0"),
    "a question to old reflection": grpc(alphaReflection, "\x3a\0"),
    "a question that is no UTF-8": grpc(reflection, "\x1a\x02\xff\xfe"),
    "a question that is no protobuf": grpc(alphaReflection, "\xff\xff"),
    "a value above ASCII": askFor("/healthz", ["a", "\xff\xfe"]),
    "names of prototypes": askFor("/healthz", ["__proto__", "x"], ["constructor", "y"]),
    "headers in two frames": all(
      block(healthz.subarray(0, 10), flags.endStream),
      raw(continuation, healthz.subarray(10), 4, 1),
    ),
    "the reserved bit of a stream": frame({
      type: frameType.headers,
      flags: ended,
      stream: 0x8000_0001,
      payload: healthz,
    }),
    "the last stream that there is": headers(0x7fff_ffff, requestFields("/healthz"), ended),
    "a stream that depends on itself": block(all(uint32(1), Buffer.from([1]), healthz), ended | flags.priority),
  }),
  ...table(204, { "OPTIONS with an asterisk": pseudo({ ":method": "OPTIONS", ":path": "*" }) }),
  ...table(404, {
    "a path of two slashes": askFor("//"),
    "a path above ASCII": askFor("/\xff\xfe"),
    "a long path": askFor(`/${"a".repeat(12_000)}`),
    "get in small letters": pseudo({ ":method": "get" }),
    TRACE: pseudo({ ":method": "TRACE" }),
    "a method that nobody knows": pseudo({ ":method": "BREW" }),
    "a body with trailers": all(open, raw(data, "a", 0, 1), headers(1, [["x", "y"]], ended)),
  }),
  ...table(405, { CONNECT: ask([":method", "CONNECT"], [":authority", "x:1"]) }),
  ...table(400, {
    "dot segments": askFor("/x/../metrics"),
    "encoded dot segments": askFor("/%2e%2e/metrics"),
    "a backslash": askFor("/\\metrics"),
    "a fragment": askFor("/#a"),
  }),
];

const pseudoHeaders = table("refused", {
  "no fields": ask(),
  "no method": pseudo({ ":method": undefined }),
  "no scheme": pseudo({ ":scheme": undefined }),
  "no path": pseudo({ ":path": undefined }),
  "an authority of rubbish": pseudo({ ":authority": "a b\\c" }),
  "an absolute path": pseudo({ ":path": "http://elsewhere/healthz" }),
  "an empty authority": pseudo({ ":authority": "" }),
  "an empty method": pseudo({ ":method": "" }),
  "an empty scheme": pseudo({ ":scheme": "" }),
  "an empty path": pseudo({ ":path": "" }),
  "a path without a slash": pseudo({ ":path": "[" }),
  "an asterisk with GET": pseudo({ ":path": "*" }),
  "a space in the path": pseudo({ ":path": "/a b" }),
  "a NUL in the path": pseudo({ ":path": "/a\0b" }),
  "a line in the path": pseudo({ ":path": "/a\r\nb" }),
  "a space in the method": pseudo({ ":method": "G T" }),
  "a NUL in the method": pseudo({ ":method": "\0" }),
  "a scheme of rubbish": pseudo({ ":scheme": "\0\xff" }),
  "two paths": pseudo({}, [":path", "/metrics"]),
  "two methods": pseudo({}, [":method", "GET"]),
  "two authorities": pseudo({}, [":authority", "y"]),
  "a pseudo header that nobody knows": pseudo({}, [":foo", "x"]),
  "a response's pseudo header": pseudo({}, [":status", "200"]),
  "an extended CONNECT": pseudo({ ":method": "CONNECT" }, [":protocol", "websocket"]),
  "capital letters": ask([":Method", "GET"], ...requestFields("/healthz").slice(1)),
  "a pseudo header after a header": ask(...requestFields("/healthz").slice(0, 3), ["a", "b"], [":path", "/healthz"]),
});

const fields = table("refused", {
  "a name in capitals": askFor("/healthz", ["X-A", "1"]),
  "an empty name": askFor("/healthz", ["", "x"]),
  "a space in a name": askFor("/healthz", ["a b", "x"]),
  "a NUL in a value": askFor("/healthz", ["a", "b\0c"]),
  "a line in a value": askFor("/healthz", ["a", "b\r\nc: d"]),
  "connection: close": askFor("/healthz", ["connection", "close"]),
  "te: gzip": askFor("/healthz", ["te", "gzip"]),
  "transfer-encoding: chunked": askFor("/healthz", ["transfer-encoding", "chunked"]),
  "a length that is no number": askFor("/healthz", ["content-length", "abc"]),
  "a length without a body": askFor("/healthz", ["content-length", "5"]),
  "two lengths": askFor("/healthz", ["content-length", "5"], ["content-length", "6"]),
  "300 headers": askFor("/healthz", ...Array.from({ length: 300 }, (_, i): Field => [`x${i}`, "1"])),
  "16 KB of headers": askFor("/healthz", ["a", "b".repeat(16_300)]),
});

const compression = table("refused", {
  "an index without end": block(Buffer.from([...times(9, Buffer.from([0xff])), 0x7f])),
  "index 0": block(Buffer.from([0x80])),
  "an index that is not there": block(Buffer.from([0xff, 0xff, 0x7f])),
  "a literal that breaks off": block(Buffer.from([0x00, 0x7f])),
  "Huffman code of rubbish": block(Buffer.from([0x00, 0x82, 0xff, 0xff, 0x81, 0x00])),
  "a table of 2 GB": block(all(Buffer.from([0x3f]), hpackInteger(2 ** 31, 7), healthz)),
  "a small block of 32 MB": block(
    all(
      ...[healthz, Buffer.from([0x40]), hpackInteger(1, 7), Buffer.from("a")],
      ...[hpackInteger(4_000, 7), Buffer.alloc(4_000, 0x61), Buffer.alloc(8_000, 0xbe)],
    ),
  ),
});

const frames = table("refused", {
  "headers on stream 0": headers(0, requestFields("/healthz"), ended),
  "headers on an even stream": headers(2, requestFields("/healthz"), ended),
  "a stream that is ended twice": all(open, times(2, raw(data, "", flags.endStream, 1))),
  "padding longer than the frame": block(all(Buffer.from([255]), healthz), ended | flags.padded),
  "data with too much padding": all(open, raw(data, Buffer.from([200, 1]), flags.padded, 1)),
  "data with padding and nothing else": all(open, raw(data, "", flags.padded, 1)),
  "data on a stream that is idle": raw(data, "a", 0, 1),
  "data on stream 0": raw(data, "a"),
  "a reset of an idle stream": reset(7),
  "a reset of stream 0": reset(0),
  "a reset of three bytes": raw(frameType.reset, "abc", 0, 1),
  "a priority of three bytes": raw(priority, "abc", 0, 1),
  "settings on a stream": raw(frameType.settings, "", 0, 1),
  "settings of three bytes": raw(frameType.settings, "abc"),
  "an ack of settings with settings": raw(frameType.settings, "abcdef", flags.ack),
  "a window above the largest": settings([4, 0xffff_ffff]),
  "push that is neither on nor off": settings([2, 2]),
  "a frame size of 1": settings([5, 1]),
  "a thousand settings": settings(...Array.from({ length: 1_000 }, (_, i): [number, number] => [i, 1])),
  "a push from a client": raw(pushPromise, all(uint32(2), healthz), flags.endHeaders, 1),
  "a ping of three bytes": raw(frameType.ping, "abc"),
  "a ping on a stream": raw(frameType.ping, "12345678", 0, 1),
  "a goodbye of one byte": raw(goAway, "a"),
  "a goodbye on a stream": raw(goAway, uint32(0, 0), 0, 3),
  "a window update of 0": windowUpdate(0, 0),
  "window updates above the largest": times(2, windowUpdate(0, 0x7fff_ffff)),
  "a window update of one byte": raw(frameType.windowUpdate, "a"),
  "a stream's window update of 0": all(open, windowUpdate(1, 0)),
  "a stream's window above the largest": all(open, windowUpdate(1, 0x7fff_ffff)),
  "a continuation alone": raw(continuation, "", flags.endHeaders, 1),
  "a continuation of another stream": all(headers(1, requestFields("/healthz"), 0), raw(continuation, "", 4, 3)),
  "headers that are interrupted": all(headers(1, requestFields("/healthz"), 0), ping()),
  "headers in headers": all(headers(1, requestFields("/healthz"), 0), headers(3, requestFields("/healthz"), ended)),
  "5,000 continuations": all(headers(1, requestFields("/healthz"), 1), times(5_000, raw(continuation, "", 0, 1))),
  "headers that go on for a megabyte": all(
    headers(1, requestFields("/healthz"), 1),
    times(64, raw(continuation, Buffer.alloc(16_384), 0, 1)),
  ),
  "a frame of 16 MB": frame({ type: data, stream: 1, length: 0xff_ffff, payload: Buffer.alloc(100) }),
  "a frame one byte too large": frame({ type: data, stream: 1, payload: Buffer.alloc(16_385) }),
  "a megabyte beyond the window": all(open, times(64, frame({ type: data, stream: 1, payload: Buffer.alloc(16_384) }))),
  "trailers that are a path": all(open, headers(1, [[":path", "/"]], ended)),
  "trailers that do not end": all(open, headers(1, [["x", "y"]], flags.endHeaders)),
  "another length than announced": all(
    headers(1, [[":method", "POST"], ...requestFields("/nothing", ["content-length", "2"]).slice(1)]),
    raw(data, "abc", flags.endStream, 1),
  ),
});

const ignored = table("ignored", {
  "settings of zeros": settings([1, 0], [3, 0], [4, 0], [5, 16_384], [6, 0]),
  "settings that nobody knows": settings([0xff, 1]),
  "a frame that nobody knows": raw(99, "a"),
  "frames of later standards": all(raw(10, "\0\x05hello"), raw(12, "\0\x05hello"), raw(16, "\0")),
});

const prefaces: Http2Case[] = [
  {
    name: "a preface of rubbish",
    bytes: Buffer.from("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
    isWhole: true,
    expects: "refused",
  },
  {
    name: "a preface and rubbish",
    bytes: all(preface, Buffer.from("GET / HTTP/1.1\r\n\r\n")),
    isWhole: true,
    expects: "refused",
  },
  { name: "a request before the settings", bytes: all(preface, askFor("/healthz")), isWhole: true, expects: 200 },
];

export const http2Cases: readonly Http2Case[] = [
  ...[...answered, ...pseudoHeaders, ...fields, ...compression],
  ...[...frames, ...ignored, ...prefaces],
];
