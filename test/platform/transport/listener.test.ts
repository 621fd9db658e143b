import { describe, expect, test } from "bun:test";
import type { Handler, HttpRequest } from "#services/platform/transport/exchange.ts";
import type { TransportLimits } from "#services/platform/transport/limits.ts";
import { openListener } from "#services/platform/transport/listener.ts";
import { eventually } from "#test/support/eventually.ts";
import { http1Replies } from "#test/support/http1-replies.ts";
import {
  flags,
  framesOf,
  frameType,
  headers,
  preface,
  requestFields,
  reset,
  settings,
  windowUpdate,
} from "#test/support/http2-frames.ts";
import { openRawSocket, type RawSocket } from "#test/support/raw-socket.ts";
import { captureLog } from "../captured-log.ts";

const megabyte = 1024 * 1024;
const get = (path: string) => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`;

/**
 * `/slow` is answered when it is let, `/large` with 32 MB, `/stream` never ends, `/body` tells how long the body was, and
 * everything else is empty.
 */
async function setup(limits: Partial<TransportLimits> = {}) {
  const log = captureLog();
  const slow = Promise.withResolvers<void>();
  const seen: HttpRequest[] = [];
  const handler: Handler = async (request) => {
    seen.push(request);
    if (request.target === "/slow") await slow.promise;
    if (request.target === "/large") return { status: 200, body: new Uint8Array(32 * megabyte) };
    if (request.target === "/stream") return { status: 200, body: endless(request.signal) };
    if (request.target !== "/body") return { status: 200 };
    let bytes = 0;
    for await (const part of request.body) bytes += part.byteLength;
    return { status: 200, body: new TextEncoder().encode(`${bytes}`) };
  };
  const listener = await openListener({ host: "127.0.0.1", port: 0, handler, log: log.log, http2: true, limits });
  const dispose = async () => listener.destroy();
  return {
    listener,
    log,
    seen,
    letGo: slow.resolve,
    open: () => openRawSocket(listener.port),
    [Symbol.asyncDispose]: dispose,
  };
}

async function* endless(signal: AbortSignal): AsyncGenerator<Uint8Array> {
  yield new Uint8Array([65]);
  const { promise, resolve } = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => resolve());
  await promise;
}

const statuses = (bytes: Buffer) => http1Replies(bytes).map(({ status }) => status);
const hasReply = (bytes: Buffer) => bytes.includes("\r\n\r\n");

describe("openListener keeps nobody who", () => {
  const soon = { headerTimeoutMs: 100, stallTimeoutMs: 150, idleTimeoutMs: 100 };

  test.each([
    ["says nothing", "", []],
    ["does not finish the headers", "GET / HTTP/1.1\r\nhost: x\r\n", [408]],
    ["does not finish the second request", `${get("/")}GET`, [200, 408]],
    ["does not send the body", "POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc", [408]],
    [
      "does not send the last chunk",
      "POST /body HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na",
      [408],
    ],
    ["asks for nothing more", get("/"), [200]],
  ])("%s", async (_what, bytes, replies) => {
    await using world = await setup(soon);
    await using raw = await world.open();
    if (bytes !== "") raw.write(bytes);
    expect(statuses(await raw.closed())).toEqual(replies);
    raw.socket.end();
    await eventually(() => world.listener.connections === 0);
    expect(world.log.records()).toEqual([]);
  });

  test("sends a byte of the headers now and then", async () => {
    await using world = await setup(soon);
    await using raw = await world.open();
    raw.write("GET / HTTP/1.1\r\nx: ");
    const trickle = setInterval(() => raw.write("a"), 20);
    expect(statuses(await raw.closed())).toEqual([408]);
    clearInterval(trickle);
  });

  test("sends a byte of the body now and then", async () => {
    await using world = await setup({ ...soon, bodyBytesPerSecond: 1_000 });
    await using raw = await world.open();
    raw.write("POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 99999\r\n\r\n");
    const trickle = setInterval(() => raw.write("a"), 20);
    expect(statuses(await raw.closed())).toEqual([408]);
    clearInterval(trickle);
  });

  test("does not read the answer", async () => {
    await using world = await setup(soon);
    await using raw = await world.open();
    raw.socket.pause();
    raw.write(get("/large"));
    await eventually(() => world.seen.length === 1);
    await eventually(() => world.listener.connections === 0);
    expect(world.seen[0]!.signal.aborted).toBe(true);
  });

  test.each([
    ["does not finish the preface", preface.subarray(0, 10)],
    ["says nothing after the preface", Buffer.concat([preface, settings()])],
    ["does not finish a frame", Buffer.concat([preface, settings().subarray(0, 5)])],
    ["does not finish the headers", Buffer.concat([preface, settings(), headers(1, requestFields("/"), 0)])],
  ])("%s, over HTTP/2", async (_what, bytes) => {
    await using world = await setup(soon);
    await using raw = await world.open();
    raw.write(bytes);
    await raw.closed();
  });

  test("does not read the answer, over HTTP/2", async () => {
    await using world = await setup({ ...soon, idleTimeoutMs: 60_000 });
    await using raw = await world.open();
    const ask = headers(1, requestFields("/large"), flags.endHeaders | flags.endStream);
    // A window of nothing for each stream.
    raw.write(Buffer.concat([preface, settings([4, 0]), ask]));
    const isReset = (received: Buffer) => framesOf(received).some(({ type }) => type === frameType.reset);
    expect(await raw.until(isReset)).toBe(true);
  });

  test("has more streams than one connection may", async () => {
    await using world = await setup({ streamsPerConnection: 3 });
    await using raw = await world.open();
    const ask = (stream: number) => headers(stream, requestFields("/slow"), flags.endHeaders | flags.endStream);
    raw.write(Buffer.concat([preface, settings(), ...Array.from({ length: 20 }, (_, i) => ask(i * 2 + 1))]));
    const resets = (received: Buffer) => framesOf(received).filter(({ type }) => type === frameType.reset).length;
    await raw.until((received) => resets(received) >= 17);
    expect(world.seen.length).toBe(3);
  });

  test.each([
    ["opens more streams than its address may", { streamsPerSecond: 10 }, () => Buffer.alloc(0)],
    ["resets more streams than it may", { resetsPerSecond: 1 }, (stream: number) => reset(stream)],
    ["makes us reset more streams than it may", { resetsPerSecond: 1 }, (stream: number) => windowUpdate(stream, 0)],
  ])("%s", async (_what, limits, after) => {
    await using world = await setup(limits);
    await using raw = await world.open();
    raw.write(Buffer.concat([preface, settings()]));
    for (let stream = 1; stream < 200 && !raw.isClosed; stream += 2) {
      raw.write(Buffer.concat([headers(stream, requestFields("/slow")), after(stream)]));
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    await raw.closed();
    expect(world.seen.length).toBeLessThan(100);
  });

  test("sends more than a body may have", async () => {
    await using world = await setup({ bodyBytes: 1_024 });
    for (const framing of ["content-length: 2000", "transfer-encoding: chunked"]) {
      await using raw = await world.open();
      raw.write(`POST /body HTTP/1.1\r\nhost: x\r\n${framing}\r\n\r\n7d0\r\n${"a".repeat(2_000)}`);
      expect(statuses(await raw.closed())).toEqual([413]);
    }
  });
});

describe("openListener's connections of one address", () => {
  test("make room for a new one by the one that has waited longest", async () => {
    await using world = await setup({ connectionsPerAddress: 3 });
    const busy = await world.open();
    busy.write(get("/slow"));
    await eventually(() => world.seen.length === 1);
    const silent = [await world.open(), await world.open()];
    const later = await world.open();
    await silent[0]!.closed();
    later.write(get("/"));
    await later.until(hasReply);
    world.letGo();
    await busy.until(hasReply);
    expect(statuses(busy.received)).toEqual([200]);
    expect(silent[1]!.isClosed).toBe(false);
    for (const raw of [busy, ...silent, later]) raw.socket.destroy();
  });

  test("refuse a new one while all of them are being served", async () => {
    await using world = await setup({ connectionsPerAddress: 2 });
    const served: RawSocket[] = [];
    for (let i = 0; i < 2; i++) {
      served.push(await world.open());
      served[i]!.write(get("/slow"));
    }
    await eventually(() => world.seen.length === 2);
    await using refused = await world.open();
    expect(await refused.closed()).toEqual(Buffer.alloc(0));
    world.letGo();
    for (const raw of served) {
      await raw.until(hasReply);
      raw.socket.destroy();
    }
  });

  test("are bounded with those of all others", async () => {
    await using world = await setup({ connections: 1 });
    await using first = await world.open();
    await using second = await world.open();
    await first.closed();
    second.write(get("/"));
    expect(await second.until(hasReply)).toBe(true);
  });
});

describe("openListener", () => {
  test("answers who has ended its side already, but with no stream", async () => {
    await using world = await setup();
    await using raw = await world.open();
    raw.socket.end(`${get("/")}${get("/body")}`);
    expect(statuses(await raw.closed())).toEqual([200, 200]);
    await using left = await world.open();
    left.socket.end(get("/stream"));
    await left.closed();
    await eventually(() => world.listener.connections === 0);
  });

  test("answers every one of thousands of pipelined requests", async () => {
    await using world = await setup();
    await using raw = await world.open();
    raw.write(get("/").repeat(8_000));
    raw.socket.end("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    expect(statuses(await raw.closed())).toHaveLength(8_001);
  });

  test("tells a handler that its caller has gone", async () => {
    await using world = await setup();
    const raw = await world.open();
    raw.write(get("/slow"));
    await eventually(() => world.seen.length === 1);
    raw.socket.resetAndDestroy();
    await eventually(() => world.seen[0]!.signal.aborted);
    world.letGo();
  });

  test("asks for a body that is announced only when somebody reads it", async () => {
    await using world = await setup();
    const head = (path: string) =>
      `POST ${path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n`;
    await using read = await world.open();
    read.write(head("/body"));
    await read.until(hasReply);
    expect(read.received.toString()).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    read.write("abc");
    await read.until((received) => received.includes("content-length: 1\r\n\r\n3"));
    await using unread = await world.open();
    unread.write(head("/"));
    expect(statuses(await unread.closed())).toEqual([200]);
  });

  test("finishes what it has begun when it closes, and takes no more", async () => {
    await using world = await setup();
    await using busy = await world.open();
    await using idle = await world.open();
    busy.write(`${get("/slow")}${get("/")}`);
    await eventually(() => world.seen.length === 1);
    world.listener.close();
    await idle.closed();
    idle.socket.end();
    world.letGo();
    const [reply, ...more] = http1Replies(await busy.closed());
    expect([reply?.status, reply?.header.get("connection"), more]).toEqual([200, "close", []]);
    busy.socket.end();
    await world.listener.finish(5_000);
    expect(world.listener.connections).toBe(0);
  });
});
