import { describe, expect, test } from "bun:test";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createConnections, NotConnectedError, TimeoutError } from "#services/delivery/connections.ts";
import { eventually } from "../support/eventually.ts";

async function setup(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  let opened = 0;
  const paths: string[] = [];
  const server = createServer((request, response) => {
    paths.push(request.url!);
    request.resume().on("end", () => answer(request, response));
  });
  server.on("connection", () => opened++);
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}`,
    opened: () => opened,
    paths,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

describe("createConnections", () => {
  test("uses its connections again, however many requests are on the wire at once", async () => {
    const waiting: ServerResponse[] = [];
    await using world = await setup((_, response) => {
      waiting.push(response);
      if (waiting.length === 200) for (const each of waiting.splice(0)) each.end("{}");
    });
    const { post } = createConnections(world.url);
    for (let burst = 0; burst < 3; burst++) {
      await Promise.all(Array.from({ length: 200 }, () => post("/botx/sendMessage", "{}", 10_000)));
    }
    expect(world.opened()).toBe(200);
  });

  test("keeps the path of its root before each request's", async () => {
    await using world = await setup((_, response) => response.end('{"ok":true}'));
    for (const root of ["", "/", "/bot-api", "/bot-api/"])
      await createConnections(world.url + root).post("/botx/getMe", "{}", 10_000);
    expect(world.paths).toEqual(["/botx/getMe", "/botx/getMe", "/bot-api/botx/getMe", "/bot-api/botx/getMe"]);
  });

  test("reads an answer that comes in pieces", async () => {
    await using world = await setup((_, response) => {
      const bytes = Buffer.from(JSON.stringify({ text: "ж".repeat(40_000) }));
      response.write(bytes.subarray(0, 10_001));
      setImmediate(() => response.end(bytes.subarray(10_001)));
    });
    const answer = await createConnections(world.url).post("/botx/getMe", "{}", 10_000);
    expect(JSON.parse(answer.text)).toEqual({ text: "ж".repeat(40_000) });
  });

  test("gives up after its time, and goes on with another connection", async () => {
    let hangs = true;
    await using world = await setup((_, response) => {
      if (!hangs) response.end("{}");
    });
    const { post } = createConnections(world.url);
    expect(post("/botx/sendMessage", "{}", 50)).rejects.toBeInstanceOf(TimeoutError);
    await eventually(() => world.paths.length === 1);
    hangs = false;
    expect(await post("/botx/sendMessage", "{}", 10_000)).toMatchObject({ status: 200, text: "{}" });
  });

  test("knows that nothing was written where no connection ever stood", async () => {
    const { post } = createConnections("http://127.0.0.1:1");
    const error = await post("/botx/sendMessage", "{}", 10_000).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(NotConnectedError);
    expect(Bun.inspect(error)).not.toContain("botx");
  });
});
