import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { serveGateway } from "../../gateway/server.ts";
import { authorized, envelopeOf, setup } from "./gateway-world.ts";

async function serve() {
  const world = setup({ StartBroadcast: { queued: 1n } });
  const { gateway, log } = world;
  const server = await serveGateway({ gateway, log, port: 0, host: "127.0.0.1" });
  const url = `http://127.0.0.1:${server.port}`;
  return { world, server, url, [Symbol.asyncDispose]: () => server.stop() };
}

/** A body that says nothing of its length. */
function chunked(bytes: number): ReadableStream<Uint8Array> {
  const chunk = new Uint8Array(64 * 1024).fill(0x61);
  let left = bytes;
  return new ReadableStream({
    pull(stream) {
      if (left <= 0) return stream.close();
      stream.enqueue(chunk);
      left -= chunk.byteLength;
    },
  });
}

describe("the gateway over HTTP", () => {
  test("answers a call", async () => {
    await using gateway = await serve();
    const body = new URLSearchParams({ id: "5" });
    const response = fetch(`${gateway.url}/api/broadcast/start.json`, { method: "POST", headers: authorized, body });
    expect(await envelopeOf(response)).toEqual({ status: "ok", data: { queued: 1 } });
  });

  test.each([
    ["that is declared too large", () => new Uint8Array(2_000_000)],
    ["that turns out too large", () => chunked(2_000_000)],
    ["larger than any call may have", () => chunked(60_000_000)],
  ])("answers a body %s with an envelope and not with 413", async (_case, body) => {
    await using gateway = await serve();
    for (const path of ["/api/broadcast/start.json", "/api/media/upload.json"]) {
      const response = await fetch(gateway.url + path, { method: "POST", headers: authorized, body: body() });
      expect(response.status).toBe(200);
      expect(await envelopeOf(response)).toMatchObject({ error: "func" });
    }
    expect(gateway.world.calls).toEqual([]);
  });

  test("answers a caller without a session before it has read the body", async () => {
    await using gateway = await serve();
    const head = "POST /api/media/upload.json HTTP/1.1\r\nhost: x.example\r\ncontent-length: 50000000\r\n\r\nonly this";
    expect(await firstReply(gateway.server.port, head)).toContain('"error":"key"');
  });

  test("says in a sentence that its port is taken", async () => {
    await using gateway = await serve();
    const { gateway: app, log } = gateway.world;
    const again = serveGateway({ gateway: app, log, port: gateway.server.port, host: "127.0.0.1" });
    await expect(again).rejects.toThrow(`Port ${gateway.server.port} on 127.0.0.1 is taken by another process.`);
  });

  test("can be stopped twice", async () => {
    const { server } = await serve();
    await server.stop();
    await server.stop();
  });
});

/** Sends a request that never ends, and gives what comes back up to the end of the envelope. */
function firstReply(port: number, request: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect({ host: "127.0.0.1", port }, () => socket.write(request));
  let received = "";
  socket.on("error", reject);
  socket.on("close", () => resolve(received));
  socket.on("data", (chunk) => {
    received += chunk.toString();
    if (received.endsWith("}")) socket.destroy();
  });
  return promise;
}
