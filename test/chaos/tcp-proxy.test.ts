import { afterEach, describe, expect, test } from "bun:test";
import { connect, createServer, type Server, type Socket } from "node:net";
import { eventually } from "../support/eventually.ts";
import { createTcpProxy, type TcpProxy } from "./tcp-proxy.ts";

const opened: { stop(): unknown }[] = [];

afterEach(async () => {
  for (const one of opened.splice(0)) await one.stop();
});

/** A server that echoes, a proxy before it and a client behind that. */
async function setup(): Promise<{ proxy: TcpProxy; client: () => Promise<Client> }> {
  const server = createServer((socket) => {
    socket.on("data", (bytes) => socket.write(bytes));
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  const proxy = await createTcpProxy(() => portOf(server));
  opened.push(proxy, { stop: () => server.close() });
  return { proxy, client: () => openClient(proxy.port) };
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

interface Client {
  socket: Socket;
  got(): string;
  closed(): boolean;
}

async function openClient(port: number): Promise<Client> {
  const socket = connect(port, "127.0.0.1");
  let got = "";
  let closed = false;
  socket.on("data", (bytes) => {
    got += bytes.toString();
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    closed = true;
  });
  await new Promise<void>((resolve) => socket.once("connect", () => resolve()));
  opened.push({ stop: () => socket.destroy() });
  return { socket, got: () => got, closed: () => closed };
}

describe("a TCP proxy", () => {
  test("passes bytes both ways, and in order when it delays them", async () => {
    const { proxy, client } = await setup();
    const one = await client();
    one.socket.write("a");
    await eventually(() => one.got() === "a");
    proxy.delay(30);
    for (const letter of "bcdef") one.socket.write(letter);
    await eventually(() => one.got() === "abcdef");
  });

  test("keeps the order of what it jitters", async () => {
    const { proxy, client } = await setup();
    const one = await client();
    proxy.jitter(20);
    const letters = [..."abcdefghijklmnopqrstuvwxyz"];
    for (const letter of letters) {
      one.socket.write(letter);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await eventually(() => one.got() === letters.join(""));
  });

  test("cuts what is open and takes what is new", async () => {
    const { proxy, client } = await setup();
    const one = await client();
    one.socket.write("a");
    await eventually(() => one.got() === "a");
    proxy.cut();
    await eventually(() => one.closed());
    const two = await client();
    two.socket.write("b");
    await eventually(() => two.got() === "b");
  });

  test("holds everything back while parted, and loses none of it", async () => {
    const { proxy, client } = await setup();
    const one = await client();
    one.socket.write("a");
    await eventually(() => one.got() === "a");
    proxy.partition(true);
    one.socket.write("b");
    await Bun.sleep(50);
    expect({ got: one.got(), closed: one.closed() }).toEqual({ got: "a", closed: false });
    proxy.partition(false);
    await eventually(() => one.got() === "ab");
  });

  test("swallows the answers of connections that are half-open, until it heals", async () => {
    const { proxy, client } = await setup();
    const one = await client();
    one.socket.write("a");
    await eventually(() => one.got() === "a");
    proxy.halfOpen();
    one.socket.write("b");
    await Bun.sleep(50);
    expect({ got: one.got(), closed: one.closed() }).toEqual({ got: "a", closed: false });
    const two = await client();
    two.socket.write("c");
    await eventually(() => two.got() === "c");
    proxy.heal();
    await eventually(() => one.closed());
  });
});
