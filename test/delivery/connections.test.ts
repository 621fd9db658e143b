import { describe, expect, test } from "bun:test";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import fc from "fast-check";
import { type Connections, createConnections, type Exchange, type Post } from "#services/delivery/connections.ts";
import { eventually } from "../support/eventually.ts";
import { answering, http, isWhole, type RawConnection, startRawServer, untilClosed } from "./raw-server.ts";

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

function json(path: string, fields: Partial<Post> = {}): Post {
  return { path, contentType: "application/json", length: 2, start: "{}", timeoutMs: 10_000, ...fields };
}

function post({ post }: Connections, fields: Partial<Post> = {}): Promise<Exchange> {
  return post(json("/botx/sendMessage", fields));
}

const OK = http("200 OK", '{"ok":true}');
const okExchange = { end: "answered", status: 200, text: '{"ok":true}' } as const;

/** More than the kernel takes for a server that reads nothing. */
const PIECE = Buffer.alloc(1_000_000);
const PIECES = 60;

/** A body that is taken piece by piece, and how much of it was. */
function longBody() {
  const taken = { pieces: 0, ended: false };
  async function* rest() {
    try {
      for (; taken.pieces < PIECES; taken.pieces++) yield PIECE;
    } finally {
      taken.ended = true;
    }
  }
  return { taken, fields: { start: new Uint8Array(), length: PIECES * PIECE.length, rest: rest() } };
}

describe("createConnections", () => {
  test("uses its connections again, however many requests are on the wire at once", async () => {
    const waiting: ServerResponse[] = [];
    await using world = await setup((_, response) => {
      waiting.push(response);
      if (waiting.length === 200) for (const each of waiting.splice(0)) each.end("{}");
    });
    const connections = createConnections(world.url);
    for (let burst = 0; burst < 3; burst++) {
      await Promise.all(Array.from({ length: 200 }, () => post(connections)));
    }
    expect(world.opened()).toBe(200);
  });

  test("keeps the path of its root before each request's", async () => {
    await using world = await setup((_, response) => response.end('{"ok":true}'));
    for (const root of ["", "/", "/bot-api", "/bot-api/", "//"]) await post(createConnections(world.url + root));
    const [bare, prefixed] = ["/botx/sendMessage", "/bot-api/botx/sendMessage"];
    expect(world.paths).toEqual([bare, bare, prefixed, prefixed, bare]);
  });

  test("reads an answer that comes in pieces", async () => {
    const text = JSON.stringify({ text: "ж".repeat(40_000) });
    await using world = await setup((_, response) => {
      const bytes = Buffer.from(text);
      response.write(bytes.subarray(0, 10_001));
      setImmediate(() => response.end(bytes.subarray(10_001)));
    });
    expect(await post(createConnections(world.url))).toMatchObject({ end: "answered", text });
  });

  test("sends a body that is taken piece by piece whole, and each byte once", async () => {
    let bytes = 0;
    await using world = await setup((_, response) => response.end("{}"));
    await using server = await startRawServer({
      onData: (connection) => {
        bytes += connection.received.length;
        connection.received = "";
        if (bytes >= PIECES * PIECE.length) connection.socket.write(OK);
      },
    });
    const { fields } = longBody();
    expect(await post(createConnections(server.url), fields)).toMatchObject(okExchange);
    expect(bytes).toBeGreaterThanOrEqual(PIECES * PIECE.length);
    expect(await post(createConnections(world.url), longBody().fields)).toMatchObject({ status: 200 });
  });

  test("gives up after its time, and goes on with another connection", async () => {
    let hangs = true;
    await using world = await setup((_, response) => {
      if (!hangs) response.end("{}");
    });
    const connections = createConnections(world.url);
    expect(await post(connections, { timeoutMs: 50 })).toEqual({ end: "lost", how: "timeout" });
    hangs = false;
    expect(await post(connections)).toMatchObject({ end: "answered", status: 200, text: "{}" });
    expect(world.opened()).toBe(2);
  });
});

describe("a request that was not written", () => {
  test.each([
    ["a port that nobody listens on", "http://127.0.0.1:1"],
    ["a host that does not exist", "http://telegram.invalid"],
    ["a host that does not exist, over TLS", "https://telegram.invalid"],
    ["a port that is none", "http://127.0.0.1:0"],
  ])("is told as such: %s", async (_, root) => {
    let written = 0;
    const exchange = await post(createConnections(root), { onWritten: () => written++ });
    expect([exchange, written]).toEqual([{ end: "notWritten" }, 0]);
  });

  test("is told as such where the server shakes no hands, or is none for TLS", async () => {
    await using silent = await startRawServer({});
    await using plain = await startRawServer({
      onData: ({ socket }) => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"),
    });
    for (const { port } of [silent, plain]) {
      const connections = createConnections(`https://127.0.0.1:${port}`);
      expect(await post(connections, { timeoutMs: 200 })).toEqual({ end: "notWritten" });
    }
    for (const { received } of [...silent.connections, ...plain.connections]) expect(received).not.toContain("botx");
  });

  test.each(["/bot x/getMe", "/bot1:a\r\nhost: evil/getMe", "/botж/getMe", "relative", ""])(
    "is refused before a connection is opened: %p",
    async (path) => {
      await using server = await startRawServer(answering(OK));
      const error = await createConnections(server.url)
        .post(json(path))
        .catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(Error);
      expect(String(error)).not.toContain("bot");
      expect(server.connections).toHaveLength(0);
    },
  );

  test("is one that may not be written when its connection stands; that one serves the next", async () => {
    await using server = await startRawServer(answering(OK));
    const connections = createConnections(server.url);
    for (let i = 0; i < 2; i++) {
      expect(await post(connections, { mayWrite: () => false })).toEqual({ end: "notWritten" });
    }
    expect(server.requests()).toBe(0);
    expect(await post(connections, { mayWrite: () => true })).toMatchObject(okExchange);
    expect(server.connections).toHaveLength(1);
  });

  test("leaves its body to the next connection where the kept one was closed", async () => {
    await using server = await startRawServer({
      onData: (connection) => {
        if (isWhole(connection)) connection.socket.end(OK);
      },
    });
    const connections = createConnections(server.url);
    for (let i = 0; i < 5; i++) {
      const rest = (async function* () {
        yield Buffer.from("{}");
      })();
      expect(await post(connections, { start: new Uint8Array(), rest })).toMatchObject(okExchange);
    }
    expect([server.requests(), server.connections.length]).toEqual([5, 5]);
  });
});

describe("an answer that is cut", () => {
  test.each([
    ["200 OK", "lost"],
    ["502 Bad Gateway", "lost"],
    ["403 Forbidden", "answered"],
  ] as const)("at any byte is in doubt, unless its status refuses: %s", async (status, end) => {
    const answer = http(status, '{"ok":false}');
    const headEnd = answer.indexOf("\r\n\r\n") + 4;
    let length = 0;
    await using server = await startRawServer({
      onData: (connection) => {
        if (isWhole(connection)) connection.socket.end(answer.slice(0, length));
      },
    });
    for (; length < answer.length; length++) {
      const exchange = await post(createConnections(server.url));
      expect({ length, end: exchange.end }).toEqual({ length, end: length < headEnd ? "lost" : end });
      if (exchange.end === "answered") expect(exchange.text).toBeUndefined();
    }
    expect(server.requests()).toBe(answer.length);
  });

  test("and by a reset is in doubt", async () => {
    await using server = await startRawServer({ onData: ({ socket }) => socket.resetAndDestroy() });
    expect(await post(createConnections(server.url))).toEqual({ end: "lost", how: "cut" });
    expect(server.requests()).toBe(1);
  });

  test.each([
    ["an endless header", `HTTP/1.1 200 OK\r\n${"a: b\r\n".repeat(5_000)}`],
    ["a huge length", "HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n{"],
    [
      "endless chunks",
      `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${"8000\r\n".padEnd(32_774, "x")}\r\n`.repeat(20),
    ],
    ["garbage", "garbage\r\n\r\n"],
  ])("by us, for %s, is in doubt, and its connection closes", async (_, answer) => {
    await using server = await startRawServer(answering(answer));
    expect(await post(createConnections(server.url))).toEqual({ end: "lost", how: "unreadable" });
    await untilClosed(server.connections[0]!);
  });

  test("by us, for its length, is a refusal where its status says so", async () => {
    await using server = await startRawServer(answering("HTTP/1.1 413 Too Large\r\ncontent-length: 999999999\r\n\r\n"));
    const refusal = { end: "answered", status: 413, text: undefined };
    expect(await post(createConnections(server.url))).toMatchObject(refusal);
    await untilClosed(server.connections[0]!);
  });

  test("by its time is a refusal where its status says so", async () => {
    await using server = await startRawServer(
      answering("HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 9\r\n\r\n{"),
    );
    const exchange = await post(createConnections(server.url), { timeoutMs: 100 });
    expect(exchange).toEqual({ end: "answered", status: 429, retryAfter: "7", text: undefined });
  });
});

describe("an answer that comes before the request was taken", () => {
  async function early(answer: string) {
    const server = await startRawServer({
      onData: ({ socket }) => {
        socket.pause();
        socket.write(answer);
      },
    });
    const { taken, fields } = longBody();
    const exchange = await post(createConnections(server.url), fields);
    return { server, taken, exchange };
  }

  test.each(["400 Bad Request", "413 Too Large", "429 Too Many Requests"])(
    "counts where it refuses: %s",
    async (status) => {
      const { server, taken, exchange } = await early(http(status, '{"ok":false}'));
      await using _ = server;
      expect(exchange).toMatchObject({ end: "answered", status: Number(status.slice(0, 3)), text: '{"ok":false}' });
      server.connections[0]!.socket.resume();
      await untilClosed(server.connections[0]!);
      await eventually(() => taken.ended);
      expect(taken.pieces).toBeLessThan(PIECES);
    },
  );

  test.each(["200 OK", "302 Found", "500 Internal Server Error"])(
    "is in doubt where it is none: %s",
    async (status) => {
      const { server, taken, exchange } = await early(http(status, '{"ok":true}'));
      await using _ = server;
      expect(exchange).toEqual({ end: "lost", how: "unreadable" });
      await eventually(() => taken.ended);
      expect(taken.pieces).toBeLessThan(PIECES);
    },
  );

  test("is none where it is an interim one", async () => {
    await using server = await startRawServer({
      onData: (connection) => {
        if (connection.received === "") return;
        connection.socket.write("HTTP/1.1 100 Continue\r\n\r\n");
        if (isWhole(connection)) connection.socket.write(OK);
      },
    });
    expect(await post(createConnections(server.url))).toMatchObject(okExchange);
  });
});

describe("bytes that nobody asked for", () => {
  test("on a kept connection answer nothing, also those that came in the moment of the next request", async () => {
    await using server = await startRawServer(answering(OK));
    const connections = createConnections(server.url);
    const stale = http("200 OK", '{"ok":true,"stale":1}');
    for (let i = 0; i < 20; i++) {
      expect(await post(connections)).toMatchObject(okExchange);
      server.connections.at(-1)!.socket.write(stale);
    }
    expect(server.connections).toHaveLength(20);
  });

  test("behind an answer close the connection", async () => {
    await using server = await startRawServer(answering(OK + http("200 OK", '{"ok":true,"stale":1}')));
    const connections = createConnections(server.url);
    for (let i = 0; i < 3; i++) expect(await post(connections)).toMatchObject(okExchange);
    expect(server.connections).toHaveLength(3);
  });
});

describe("one request", () => {
  /** What a server may do with a connection or a request. */
  const deeds = ["answer", "refuse", "fail", "cut", "reset", "half", "garbage", "idleGarbage", "close"] as const;

  function act(deed: (typeof deeds)[number], { socket }: RawConnection): void {
    if (deed === "answer") socket.write(OK);
    else if (deed === "refuse") socket.write(http("400 Bad Request", '{"ok":false}'));
    else if (deed === "fail") socket.write(http("502 Bad Gateway", "<html>"));
    else if (deed === "cut") socket.end();
    else if (deed === "reset") socket.resetAndDestroy();
    else if (deed === "half") socket.end(OK.slice(0, 30));
    else if (deed === "garbage") socket.write("garbage\r\n\r\n");
    else if (deed === "idleGarbage") socket.write(OK + OK);
    else socket.end(OK);
  }

  test("is written once, whatever the server does with it, and its end says what the server has seen", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.constantFrom(...deeds), { minLength: 1, maxLength: 12 }), async (plan) => {
        let next = 0;
        await using server = await startRawServer({
          onData: (connection) => {
            if (isWhole(connection)) act(plan[next++]!, connection);
          },
        });
        const connections = createConnections(server.url);
        for (const [i, deed] of plan.entries()) {
          const { end } = await post(connections);
          expect(server.requests()).toBe(i + 1);
          const isAnswer = ["answer", "refuse", "fail", "idleGarbage", "close"].includes(deed);
          expect(end).toBe(isAnswer ? "answered" : "lost");
        }
      }),
      { numRuns: 40 },
    );
  });
});
