/**
 * Valid byte streams with a few things changed, at every port. FUZZ_RUNS sets how many streams each port gets (default
 * 150), FUZZ_SEED repeats a run; `npm run fuzz:transport` sends 20,000 from a seed that it prints.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ping, preface, settings } from "#test/support/http2-frames.ts";
import { openRawSocket } from "#test/support/raw-socket.ts";
import { http1Cases } from "./http1-cases.ts";
import { http2Cases } from "./http2-cases.ts";
import { type PortName, type Ports, portNames, startPorts } from "./ports.ts";

const runs = Number(process.env.FUZZ_RUNS ?? 150);
const seed = Number(process.env.FUZZ_SEED ?? (runs > 1_000 ? Date.now() % 2 ** 31 : 20_260_101));
/** Streams at once, after each of which the port is looked at. */
const batch = 25;
/** What a long run may leave of garbage that is not collected yet. */
const growthBytes = 256 * 1024 * 1024;

let ports: Ports;
beforeAll(async () => {
  ports = await startPorts();
  console.log(`the transport is tried with FUZZ_SEED=${seed} FUZZ_RUNS=${runs}`);
});
afterAll(async () => {
  await ports[Symbol.asyncDispose]();
});

const http1Streams = http1Cases.map(({ bytes }) => Buffer.from(bytes, "latin1"));
const http2Streams = http2Cases.map(({ bytes, isWhole }) =>
  Buffer.concat([isWhole ? Buffer.alloc(0) : Buffer.concat([preface, settings()]), bytes, ping()]),
);

/** Where a change is made, as a share of the stream, so that it fits one of any length. */
const place = fc.double({ min: 0, max: 1, noNaN: true });
const rubbish = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 12 }).map((bytes) => Buffer.from(bytes)),
  fc
    .constantFrom(
      "\r\n",
      "\r\n\r\n",
      "\0",
      " ",
      ":",
      "//",
      "[",
      "\xff",
      "HTTP/1.1",
      "Content-Length: 5\r\n",
      "0\r\n\r\n",
    )
    .map((text) => Buffer.from(text, "latin1")),
);
const change = fc.oneof(
  fc.record({ kind: fc.constant("overwrite" as const), at: place, bytes: rubbish }),
  fc.record({ kind: fc.constant("insert" as const), at: place, bytes: rubbish }),
  fc.record({ kind: fc.constant("remove" as const), at: place, count: fc.integer({ min: 1, max: 40 }) }),
  fc.record({ kind: fc.constant("repeat" as const), at: place, count: fc.integer({ min: 1, max: 40 }) }),
  fc.record({ kind: fc.constant("cut" as const), at: place }),
);
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

function changed(stream: Buffer, one: Change): Buffer {
  const at = Math.floor(one.at * stream.length);
  const [before, after] = [stream.subarray(0, at), stream.subarray(at)];
  switch (one.kind) {
    case "overwrite":
      return Buffer.concat([before, one.bytes, after.subarray(one.bytes.length)]);
    case "insert":
      return Buffer.concat([before, one.bytes, after]);
    case "remove":
      return Buffer.concat([before, after.subarray(one.count)]);
    case "repeat":
      return Buffer.concat([before, after.subarray(0, one.count), after]);
    case "cut":
      return before;
  }
}

/** A stream, what is changed in it, and in how many pieces it is written. */
function attempts(name: PortName) {
  const streams = name === "rpc" ? [...http1Streams, ...http2Streams] : http1Streams;
  const changes = fc.array(change, { minLength: 1, maxLength: 4 });
  return fc
    .tuple(fc.constantFrom(...streams), changes, fc.integer({ min: 1, max: 4 }))
    .map(([stream, list, pieces]) => ({ bytes: list.reduce(changed, stream), pieces }));
}

/** Writes all of it, ends, and waits until the server has had enough. */
async function attempt(port: number, { bytes, pieces }: { bytes: Buffer; pieces: number }): Promise<string> {
  await using raw = await openRawSocket(port);
  const length = Math.ceil(bytes.length / pieces);
  for (let at = 0; at < bytes.length; at += length) {
    raw.write(bytes.subarray(at, at + length));
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  raw.socket.end();
  return (await raw.closed()).toString("latin1");
}

describe.each(portNames.map((name) => [name] as const))("changed streams at the port of %s", (name) => {
  test("are survived, and never said to be a fault of ours", async () => {
    const before = ports[name].memory();
    const all = fc.sample(attempts(name), { numRuns: runs, seed });
    for (let from = 0; from < all.length; from += batch) {
      const some = all.slice(from, from + batch);
      const answers = await Promise.all(some.map((one) => attempt(ports[name].port, one)));
      const faults = answers.flatMap((answer, index) =>
        /^HTTP\/1\.1 5|\r\nHTTP\/1\.1 5/.test(answer) ? [some[index]!.bytes.toString("base64")] : [],
      );
      expect({ seed, faults }).toEqual({ seed, faults: [] });
      await ports[name].expectWell();
    }
    expect(ports[name].memory() - before).toBeLessThan(growthBytes);
  });
});
