import { describe, expect, test } from "bun:test";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { readBody } from "../../gateway/body.ts";
import { readUpload } from "../../gateway/multipart.ts";
import { RestError } from "../../gateway/rest-error.ts";
import { authorized, envelopeOf, setup } from "./gateway-world.ts";

const edit = "/api/broadcast/edit.json";
const upload = "/api/media/upload.json";
const json = { "content-type": "application/json" };
const urlencoded = { "content-type": "application/x-www-form-urlencoded" };
const megabytes = (count: number) => count * 1024 * 1024;

/** A body that counts how much of it was taken. */
function counted(bytes: number, chunkBytes = 64 * 1024) {
  let taken = 0;
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      pull: (stream) => {
        if (taken >= bytes) return stream.close();
        taken += chunkBytes;
        stream.enqueue(new Uint8Array(chunkBytes).fill(0x20));
      },
    },
    { highWaterMark: 0 },
  );
  return { body, taken: () => taken };
}

function post(path: string, body: ReadableStream<Uint8Array> | Uint8Array | string, headers: Record<string, string>) {
  const world = setup();
  const init = { method: "POST", body: body as string, headers: { ...authorized, ...headers } };
  const reply = envelopeOf(world.handle(new Request(`http://localhost${path}`, init)));
  return { world, reply };
}

describe("a body of 48 MB", () => {
  test.each([
    ["JSON for a form", edit, json],
    ["JSON for an upload", upload, json],
    ["urlencoded for an upload", upload, urlencoded],
    ["of an unknown type for an upload", upload, { "content-type": "video/mp4" }],
    ["of no type for an upload", upload, {}],
    ["multipart without a boundary for an upload", upload, { "content-type": "multipart/form-data" }],
    ["compressed", edit, { ...json, "content-encoding": "gzip" }],
    [
      "compressed twice for an upload",
      upload,
      { "content-type": "multipart/form-data; boundary=x", "content-encoding": "gzip, br" },
    ],
  ])("that is %s is refused after no more than a form", async (_, path, headers) => {
    const { body, taken } = counted(megabytes(48));
    const { reply, world } = post(path, body, headers);
    expect(await reply).toMatchObject({ error: "func" });
    expect(taken()).toBeLessThanOrEqual(256 * 1024 + 64 * 1024);
    expect(world.calls).toEqual([]);
  });

  test.each([edit, upload])("that is declared is refused before its first byte at %s", async (path) => {
    const { body, taken } = counted(megabytes(60));
    const headers = { "content-type": "multipart/form-data; boundary=x", "content-length": String(megabytes(60)) };
    const { reply } = post(path, body, headers);
    expect(await reply).toMatchObject({ error: "func" });
    expect(taken()).toBe(0);
  });

  test("of an upload without an end is refused at 52 MiB", async () => {
    const { body, taken } = counted(megabytes(80));
    const { reply } = post(upload, body, { "content-type": "multipart/form-data; boundary=x" });
    expect(await reply).toMatchObject({
      error: "func",
      message: expect.stringContaining("larger than 54525952 bytes"),
    });
    expect(taken()).toBeLessThanOrEqual(megabytes(52) + 64 * 1024);
  });

  test("that a few bytes unfold to is not unfolded", async () => {
    const bomb = gzipSync(new Uint8Array(megabytes(48)));
    const { reply } = post(edit, new Uint8Array(bomb), { ...json, "content-encoding": "gzip" });
    expect(await reply).toMatchObject({
      error: "func",
      message: expect.stringContaining("without a content encoding"),
    });
  });
});

describe("a small body that is much work", () => {
  const many = (count: number, one: (n: number) => string) => Array.from({ length: count }, (_, n) => one(n));
  const part = (name: string) => `--x\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n1\r\n`;

  test.each([
    ["100,000 fields", many(100_000, () => "a").join("&"), urlencoded],
    ["as many as fit with names of their own", many(30_000, (n) => `${n.toString(36)}=`).join("&"), urlencoded],
    ["100,000 numbers", `{"campaigns":[${many(100_000, () => "1").join(",")}]}`, json],
    ["25,000 members", `{${many(25_000, (n) => `"${n.toString(36)}":1`).join(",")}}`, json],
    ["arrays in arrays", `{"id":${"[".repeat(200_000)}`, json],
    ["arrays in arrays that end", `{"id":${"[".repeat(100_000)}${"]".repeat(100_000)}}`, json],
    [
      "4,000 parts",
      `${many(4_000, () => part("a")).join("")}--x--`,
      { "content-type": "multipart/form-data; boundary=x" },
    ],
  ])("is refused: %s", async (_, body, headers) => {
    const { reply, world } = post(edit, body, headers);
    expect(await reply).toMatchObject({ error: "func" });
    expect(world.calls).toEqual([]);
  });

  test("is taken with a thousand campaigns and the longest text, commas and all", async () => {
    const text = ",".repeat(16_384);
    const campaigns = many(1_000, (n) => String(n + 1));
    const { reply, world } = post(edit, JSON.stringify({ id: 5, campaigns: campaigns.map(Number), text }), json);
    expect(await reply).toEqual({ status: "ok" });
    expect(world.calls[0]?.request).toMatchObject({ audience: { campaignIds: campaigns.map(BigInt) }, body: { text } });
  });
});

describe("a slow body", () => {
  /** Sends so many bytes whenever it is asked to, and never ends by itself. */
  function dripping(bytes: number) {
    let cancelled = false;
    let stream: ReadableStreamDefaultController<Uint8Array> | undefined;
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => {
        stream = controller;
      },
      cancel: () => {
        cancelled = true;
      },
    });
    const timer = setInterval(() => cancelled || stream?.enqueue(new Uint8Array(bytes)), 5);
    const end = () => {
      clearInterval(timer);
      if (!cancelled) stream?.close();
    };
    return { request: new Request("http://localhost/", { method: "POST", body }), end, cancelled: () => cancelled };
  }

  test("is given up with a sentence that says what to do", async () => {
    const slow = dripping(1);
    const reading = readBody(slow.request, { bytes: 1_000_000, bytesPerSecond: 100_000, windowMs: 50 });
    const error = await reading.catch((reason: unknown) => reason);
    slow.end();
    expect(error).toBeInstanceOf(RestError);
    expect(error).toMatchObject({ code: "func", message: expect.stringContaining("at least 100000 bytes a second") });
    expect(slow.cancelled()).toBe(true);
  });

  test("that says nothing at all is given up too", async () => {
    const request = new Request("http://localhost/", { method: "POST", body: new ReadableStream({}) });
    const reading = readBody(request, { bytes: 1_000_000, bytesPerSecond: 1, windowMs: 20 });
    await expect(reading).rejects.toThrow("comes too slowly");
  });

  test("is read to its end while it is fast enough", async () => {
    const steady = dripping(10_000);
    const reading = readBody(steady.request, { bytes: 10_000_000, bytesPerSecond: 1_000, windowMs: 100 });
    setTimeout(steady.end, 350);
    expect((await reading).byteLength).toBeGreaterThan(0);
  });
});

describe("uploads", () => {
  const boundary = "a-boundary-of-some-length";
  const type = { "content-type": `multipart/form-data; boundary=${boundary}` };
  const head = (name: string, more = "") =>
    `--${boundary}\r\ncontent-disposition: form-data; name="${name}"${more}\r\n\r\n`;
  const withFile = (content: string) => `${head("file", '; filename="a.jpg"')}${content}\r\n--${boundary}--\r\n`;

  function requestOf(body: Uint8Array<ArrayBuffer>, chunkBytes: number) {
    const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => {
        for (let at = 0; at < body.length; at += chunkBytes) controller.enqueue(body.slice(at, at + chunkBytes));
        controller.close();
      },
    });
    return new Request("http://localhost/", { method: "POST", body: stream, headers: type });
  }

  const limits = { bytes: 1_000_000, bytesPerSecond: 1 };

  test("give the file's bytes, wherever the network cuts them", async () => {
    const content = fc.uint8Array({ maxLength: 3_000 });
    await fc.assert(
      fc.asyncProperty(content, fc.integer({ min: 1, max: 700 }), async (file, chunkBytes) => {
        const body = Buffer.concat([
          Buffer.from(head("file", '; filename="a"')),
          file,
          Buffer.from(`\r\n--${boundary}--\r\n`),
        ]);
        const form = await readUpload(requestOf(new Uint8Array(body), chunkBytes), limits);
        const value = form.get("file");
        if (value?.kind !== "file") throw new Error("there is no file");
        expect(new Uint8Array(await value.file.arrayBuffer())).toEqual(new Uint8Array(file));
      }),
      { numRuns: 40 },
    );
  });

  test("end in a form or a refusal, whatever comes: nothing is thrown into the process", async () => {
    const piece = fc.oneof(
      fc.string(),
      fc.constantFrom(
        `--${boundary}`,
        `--${boundary}--`,
        "\r\n",
        "\r\n\r\n",
        head("file", '; filename="a"'),
        head("x"),
        head("__proto__"),
      ),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(piece, { maxLength: 30 }),
        fc.integer({ min: 1, max: 300 }),
        async (pieces, chunkBytes) => {
          const request = requestOf(new TextEncoder().encode(pieces.join("")), chunkBytes);
          const outcome = await readUpload(request, limits).catch((error: unknown) => error);
          if (outcome instanceof Error) expect(outcome).toMatchObject({ name: "RestError", code: "func" });
        },
      ),
      { numRuns: 150 },
    );
  });

  test("have names for all their parts: one that nobody can read may have said something", async () => {
    const file = 'content-disposition: form-data; name="file"; filename="a"';
    const body = [file, "content-disposition: form-data"].map((head) => `--x\r\n${head}\r\n\r\na\r\n`).join("");
    const headers = { "content-type": "multipart/form-data; boundary=x" };
    const reply = await envelopeOf(setup().post("/api/media/upload.json", `${body}--x--\r\n`, headers));
    expect(reply).toMatchObject({ error: "func", message: expect.stringContaining("Every part") });
  });

  test("have a few parts", async () => {
    const parts = (count: number) => Array.from({ length: count }, (_, n) => `${head(`x${n}`)}1\r\n`).join("");
    const beside = ["name", "status", "text", "media", "media_type", "button", "link", "on", "delay", "total"];
    const few = post(upload, beside.map((name) => `${head(name)}1\r\n`).join("") + withFile("not a picture"), type);
    expect(await few.reply).toMatchObject({ status: "ok" });
    for (const count of [13, 17, 100_000]) {
      const { reply, world } = post(upload, parts(count) + withFile("x"), type);
      expect(await reply).toMatchObject({ error: "func", message: expect.stringContaining("parts") });
      expect(world.calls).toEqual([]);
    }
  });

  test.each([
    ["a part that nobody knows", `${head("campaigns")}1\r\n${withFile("x")}`],
    ["no file", `${head("file")}text\r\n--${boundary}--\r\n`],
    ["two files of the name", withFile("a").replace(`--${boundary}--`, "") + withFile("b")],
    ["a body that breaks off", withFile("abc").slice(0, -40)],
    ["nothing", ""],
  ])("with %s are func", async (_, body) => {
    expect(await post(upload, body, type).reply).toMatchObject({ error: "func" });
  });

  test("that are slow keep further ones of their account waiting, and nobody else's", async () => {
    const world = setup({
      ResolveSession: ({ token }: { token: string }) => ({ accountId: BigInt(token), paid: true }),
    });
    const never = () => new ReadableStream<Uint8Array>({});
    const send = (token: string, body: ReadableStream<Uint8Array> | string, caller?: AbortSignal) =>
      world.handle(
        new Request(`http://localhost${upload}`, {
          method: "POST",
          body: body as string,
          headers: { authorization: `Bearer ${token}`, ...type },
          ...(caller && { signal: caller }),
        }),
      );
    const caller = new AbortController();
    // Two run and two wait.
    const slow = Array.from({ length: 8 }, () => send("7", never(), caller.signal));
    const refused = await Promise.race(slow);
    expect([refused.headers.get("x-error"), refused.headers.get("retry-after")]).toEqual(["limit", "1"]);
    expect(await envelopeOf(send("8", withFile("x")))).toMatchObject({ status: "ok" });
    const quota = await world.handle(
      new Request("http://localhost/api/broadcast/quota.json", { headers: { authorization: "Bearer 7" } }),
    );
    expect(await envelopeOf(quota)).toMatchObject({ status: "ok" });
    caller.abort();
  });
});
