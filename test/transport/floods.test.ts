/** What a peer may do but never stops doing, as fast as it can: the process stays, its memory too, and others are served. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import {
  flags,
  frame,
  frameType,
  headers,
  ping,
  preface,
  requestFields,
  reset,
  settings,
  uint32,
  windowUpdate,
} from "#test/support/http2-frames.ts";
import { type PortName, type Ports, startPorts } from "./ports.ts";

let ports: Ports;
beforeAll(async () => {
  ports = await startPorts();
});
afterAll(async () => {
  await ports[Symbol.asyncDispose]();
});

interface Flood {
  readonly name: string;
  readonly port: PortName;
  readonly connections: number;
  readonly first: Buffer;
  /** What is sent again and again, each time made anew where stream numbers have to rise. */
  readonly part: (index: number) => Buffer;
  /** Where it is endless the server has to stop it; else so many parts are sent. */
  readonly parts: number;
}

const start = Buffer.concat([preface, settings()]);
const ended = flags.endHeaders | flags.endStream;
const post = [[":method", "POST"], ...requestFields("/nothing").slice(1)] as const;
const text = (value: string) => Buffer.from(value, "latin1");
const times = (count: number, make: (index: number) => Buffer) =>
  Buffer.concat(Array.from({ length: count }, (_, i) => make(i)));
/** Parts with streams of their own. */
const streams = (count: number, make: (stream: number) => Buffer) => (index: number) =>
  times(count, (i) => make((index * count + i) * 2 + 1));
const always = (part: Buffer) => () => part;
const endless = 2_000;

/** Each sends hundreds of megabytes or millions of frames, if it is let. */
const floods: readonly Flood[] = [
  ...over("rpc", start, {
    "requests that are reset": streams(100, (id) =>
      Buffer.concat([headers(id, requestFields("/healthz"), ended), reset(id)]),
    ),
    "resets of open requests": streams(100, (id) => Buffer.concat([headers(id, post), reset(id)])),
    "requests for which we have to reset": streams(100, (id) =>
      Buffer.concat([headers(id, post), windowUpdate(id, 0)]),
    ),
    "malformed requests": streams(100, (id) => headers(id, [[":bad", "x"]], ended)),
    "requests without an end": streams(100, (id) => headers(id, post)),
    "requests whose answers nobody reads": streams(100, (id) => headers(id, requestFields("/metrics"), ended)),
    pings: always(times(2_000, () => ping())),
    settings: always(times(2_000, () => settings([4, 65_535]))),
    "window updates": always(times(2_000, () => windowUpdate(0, 1))),
    priorities: streams(2_000, (id) =>
      frame({ type: frameType.priority, stream: id, payload: Buffer.concat([uint32(0), text("a")]) }),
    ),
    "frames that nobody knows": always(times(2_000, () => frame({ type: 77 }))),
  }),
  ...over("rpc", Buffer.concat([start, headers(1, post)]), {
    "empty data": always(times(2_000, () => frame({ type: frameType.data, stream: 1 }))),
    "data beyond the window": always(
      times(8, () => frame({ type: frameType.data, stream: 1, payload: Buffer.alloc(16_384) })),
    ),
  }),
  ...over("rpc", Buffer.concat([start, headers(1, requestFields("/healthz"), flags.endStream)]), {
    continuations: always(
      times(1_000, () => frame({ type: frameType.continuation, stream: 1, payload: Buffer.alloc(100) })),
    ),
  }),
  ...(["rpc", "gateway", "sandbox"] as const).flatMap((port) => [
    ...over(port, text("GET / HTTP/1.1\r\n"), {
      "endless headers": always(text(`x: ${"a".repeat(1_000)}\r\n`.repeat(100))),
    }),
    ...over(port, text("GET /"), { "an endless line": always(Buffer.alloc(100_000, 0x61)) }),
    ...over(port, text("POST /nothing HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"), {
      "an endless body": always(text(`ffff\r\n${"a".repeat(65_535)}\r\n`)),
      "an endless body of single bytes": always(text("1\r\na\r\n".repeat(10_000))),
    }),
    ...over(port, text("POST /nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999999999\r\n\r\n"), {
      "a body of 999 TB": always(Buffer.alloc(100_000, 0x61)),
    }),
    ...over(port, text(""), {
      "requests whose answers nobody reads, over HTTP/1": always(
        text("GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n".repeat(500)),
      ),
    }),
  ]),
];

function over(port: PortName, first: Buffer, parts: Readonly<Record<string, Flood["part"]>>): Flood[] {
  return Object.entries(parts).map(([name, part]) => ({ name, port, connections: 4, first, part, parts: endless }));
}

/** Sends for a moment, never reading, as fast as the server takes it. Gives the bytes that were handed to the system. */
async function flood({ port, connections, first, part, parts }: Flood): Promise<number> {
  const made = new Map<number, Buffer>();
  const partAt = (index: number) => {
    const known = made.get(index) ?? part(index);
    made.set(index, known);
    return known;
  };
  const sockets = await Promise.all(
    Array.from({ length: connections }, () => floodOne(ports[port].port, first, partAt, parts)),
  );
  return sockets.reduce((sum, socket) => sum + socket.bytesWritten, 0);
}

/** Until the server has closed or takes no more for a moment. */
function floodOne(port: number, first: Buffer, partAt: (index: number) => Buffer, parts: number): Promise<Socket> {
  const { promise, resolve } = Promise.withResolvers<Socket>();
  const socket = connect({ host: "127.0.0.1", port });
  let index = 0;
  let stuck: Timer | undefined;
  const done = () => {
    clearTimeout(stuck);
    socket.destroy();
    resolve(socket);
  };
  const more = () => {
    clearTimeout(stuck);
    stuck = setTimeout(done, 60);
    if (index >= parts) return;
    if (socket.write(partAt(index++))) setImmediate(more);
  };
  const lasting = setTimeout(done, 150);
  socket.once("close", () => {
    clearTimeout(lasting);
    done();
  });
  socket.on("error", () => undefined);
  socket.on("drain", more);
  socket.once("connect", () => {
    socket.write(first);
    more();
  });
  return promise;
}

/** What a run of floods may leave of garbage that is not collected yet. */
const growthBytes = 256 * 1024 * 1024;

describe("a flood", () => {
  test.each(floods.map((one) => [one.name, one.port, one] as const))(
    "of %s at %s is survived",
    async (_name, name, one) => {
      const port = ports[name];
      const before = port.memory();
      await flood(one);
      await port.expectWell();
      expect(port.memory() - before).toBeLessThan(growthBytes);
    },
  );

  test("of resets over 256 connections is ended", async () => {
    const [one] = floods;
    await flood({ ...one!, connections: 256, parts: 20 });
    await ports.rpc.expectWell();
  });

  test("of connections that say nothing is survived", async () => {
    for (const port of Object.values(ports).filter((value) => typeof value === "object")) {
      const sockets = Array.from({ length: 500 }, () => connect({ host: "127.0.0.1", port: port.port }));
      for (const socket of sockets) socket.on("error", () => undefined);
      await port.expectWell();
      for (const socket of sockets) socket.destroy();
    }
  });
});
