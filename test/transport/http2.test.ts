import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  flags,
  framesOf,
  frameType,
  headers,
  ping,
  preface,
  type ReceivedFrame,
  requestFields,
  responseStatus,
  settings,
} from "#test/support/http2-frames.ts";
import { openRawSocket } from "#test/support/raw-socket.ts";
import { type Http2Case, http2Cases } from "./http2-cases.ts";
import { type Ports, startPorts } from "./ports.ts";

let ports: Ports;
beforeAll(async () => {
  ports = await startPorts();
});
afterAll(async () => {
  await ports[Symbol.asyncDispose]();
});

const mark = "MARKMARK";

function isMark({ type, flags: bits, payload }: ReceivedFrame): boolean {
  return type === frameType.ping && bits === flags.ack && payload.toString() === mark;
}

function isEnd({ type, flags: bits, stream }: ReceivedFrame): boolean {
  return type === frameType.reset || (stream > 0 && (bits & flags.endStream) !== 0);
}

/**
 * What comes back until the server has closed, or has said that it is past everything: it answers a ping behind the case,
 * and where a response is due, that has ended.
 */
async function sent({ bytes, isWhole, expects }: Http2Case) {
  await using raw = await openRawSocket(ports.rpc.port);
  raw.write(Buffer.concat([isWhole ? Buffer.alloc(0) : Buffer.concat([preface, settings()]), bytes, ping(mark)]));
  const isDone = (received: Buffer) => {
    const frames = framesOf(received);
    return frames.some(isMark) && (typeof expects !== "number" || frames.some(isEnd));
  };
  const isOpen = await raw.until(isDone);
  return { frames: framesOf(raw.received), isOpen };
}

describe("HTTP/2 at the port of an RPC server", () => {
  test.each(http2Cases.map((one) => [one.name, one] as const))("survives %s", async (_name, one) => {
    const { frames, isOpen } = await sent(one);
    const response = frames.find(({ type }) => type === frameType.headers);
    const status = response && responseStatus(response.payload);
    const isReset = frames.some(({ type }) => type === frameType.reset);
    if (typeof one.expects === "number") expect(status).toBe(one.expects);
    else if (one.expects === "ignored") expect([isOpen, isReset, status]).toEqual([true, false, undefined]);
    else expect(!isOpen || isReset || (status !== undefined && status >= 400)).toBe(true);
    expect(status ?? 0).toBeLessThan(500);
    await ports.rpc.expectWell();
  });

  test("answers a request on the same connection after one that was malformed", async () => {
    await using raw = await openRawSocket(ports.rpc.port);
    const ended = flags.endHeaders | flags.endStream;
    const bad = headers(1, requestFields("/healthz", [":path", "/x"]), ended);
    raw.write(Buffer.concat([preface, settings(), bad, headers(3, requestFields("/healthz"), ended)]));
    await raw.until((received) => framesOf(received).some((one) => one.stream === 3 && isEnd(one)));
    const response = framesOf(raw.received).find(({ type, stream }) => type === frameType.headers && stream === 3);
    expect(responseStatus(response!.payload)).toBe(200);
  });

  test("is refused where only HTTP/1 is spoken", async () => {
    for (const name of ["gateway", "sandbox", "sandbox control", "metrics"] as const) {
      await using raw = await openRawSocket(ports[name].port);
      raw.write(preface);
      expect((await raw.closed()).toString()).toStartWith("HTTP/1.1 400 ");
      await ports[name].expectWell();
    }
  });
});
