import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { http1Replies } from "#test/support/http1-replies.ts";
import { openRawSocket } from "#test/support/raw-socket.ts";
import { type Http1Case, http1Cases } from "./http1-cases.ts";
import { type Port, type Ports, portNames, startPorts } from "./ports.ts";

let ports: Ports;
beforeAll(async () => {
  ports = await startPorts();
});
afterAll(async () => {
  await ports[Symbol.asyncDispose]();
});

/** What comes back until the server closes. */
async function sent({ port }: Port, { bytes, expects }: Http1Case) {
  await using raw = await openRawSocket(port);
  raw.write(Buffer.from(bytes, "latin1"));
  if (expects === "cut") raw.socket.end();
  return http1Replies(await raw.closed());
}

describe.each(portNames.map((name) => [name] as const))("HTTP/1 at the port of %s", (name) => {
  test.each(http1Cases.map((one) => [one.name, one] as const))("survives %s", async (_name, one) => {
    const port = ports[name];
    const statuses = (await sent(port, one)).map(({ status }) => status);
    if (one.expects === "refused") expect(statuses).toHaveLength(1);
    else if (one.expects === "cut") expect(statuses.length).toBeLessThanOrEqual(1);
    // 100 is a reply of its own; whoever answers without the body does not ask for it.
    else if (one.bytes.includes("100-continue")) expect(statuses.filter((status) => status >= 200)).toHaveLength(1);
    else expect(statuses).toHaveLength(one.expects);
    if (typeof one.expects === "string") expect(statuses.every((status) => status >= 400)).toBe(true);
    expect(statuses.every((status) => status < 500)).toBe(true);
    await port.expectWell();
  });

  test("answers pipelined requests in their order, whatever each of them takes", async () => {
    const { port, goodPath } = ports[name];
    const paths = Array.from({ length: 30 }, (_, i) => (i % 3 === 0 ? "/nothing" : goodPath));
    const requests = paths.map((path, i) => `GET ${path}?${i} HTTP/1.1\r\nhost: x\r\n\r\n`).join("");
    await using raw = await openRawSocket(port);
    raw.write(`${requests}HEAD ${goodPath} HTTP/1.0\r\n\r\n`);
    const replies = http1Replies(await raw.closed(), new Set([30]));
    expect(replies.map(({ status }) => status)).toEqual(
      [...paths, goodPath].map((path) => (path === goodPath ? 200 : 404)),
    );
  });
});
