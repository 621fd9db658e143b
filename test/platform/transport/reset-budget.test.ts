import { expect, test } from "bun:test";
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
} from "#test/support/http2-frames.ts";
import { openRawSocket } from "#test/support/raw-socket.ts";
import { captureLog } from "../captured-log.ts";

/** A connection's resets are bounded elsewhere; here an address spreads them over many connections. */
test("an address that resets over many connections opens no more of them for a while, and is served over HTTP/1", async () => {
  const handler = async () => ({ status: 200 });
  const limits = { resetsPerSecond: 10 };
  const { log } = captureLog();
  const listener = await openListener({ host: "127.0.0.1", port: 0, handler, log, http2: true, limits });
  try {
    const ask = (stream: number) => headers(stream, requestFields("/"), flags.endHeaders | flags.endStream);
    const opens = async (more: Buffer): Promise<boolean> => {
      await using raw = await openRawSocket(listener.port);
      raw.write(Buffer.concat([preface, settings(), more]));
      return await raw.until((received) => framesOf(received).some(({ type }) => type === frameType.settings));
    };
    // Twenty a second, and forty in one go.
    const streams = Array.from({ length: 25 }, (_, n) => n * 2 + 1);
    const burst = Buffer.concat(streams.flatMap((stream) => [ask(stream), reset(stream)]));
    await eventually(async () => !(await opens(burst)));
    await using plain = await openRawSocket(listener.port);
    plain.write("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    expect(http1Replies(await plain.closed()).map(({ status }) => status)).toEqual([200]);
    await eventually(() => opens(ask(1)));
  } finally {
    listener.destroy();
  }
});
