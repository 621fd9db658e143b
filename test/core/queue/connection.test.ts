import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { connectQueue } from "#services/core/queue/connection.ts";
import { createTestNats, type TestNats } from "#test/support/nats.ts";

let nats: TestNats;
beforeAll(async () => {
  nats = await createTestNats();
});
afterAll(() => nats.stop());

/** In front of the server: does with the first connection what a test says, and lets the others through. */
async function openDoor(first: (socket: Socket) => void): Promise<{ url: string; server: Server }> {
  const { hostname, port } = new URL(nats.url);
  let isFirst = true;
  const server = createServer((socket) => {
    socket.on("error", () => {});
    if (isFirst) first(socket);
    else socket.pipe(connect(Number(port), hostname)).pipe(socket);
    isFirst = false;
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return { url: `nats://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

describe("connectQueue", () => {
  test.each([
    ["is cut at once", (socket: Socket) => socket.destroy()],
    ["never says anything", () => {}],
  ])("connects after an attempt that %s", async (_how, first) => {
    const { url, server } = await openDoor(first);
    const connection = await connectQueue({ url, name: "test" });
    await connection.flush();
    expect(connection.isClosed()).toBe(false);
    await connection.close();
    server.close();
  });
});
