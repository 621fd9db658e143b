import { parsedVar, parseJson, type Reading } from "../config.ts";

/** What a peer may take of a process before it has said anything that makes it known. */
export interface TransportLimits {
  /** Connections of one address (of a /64 with IPv6); above it the one that waits longest for its peer is closed. */
  readonly connectionsPerAddress: number;
  /** Connections of all addresses together. */
  readonly connections: number;
  /** Requests of one HTTP/2 connection that run at once. */
  readonly streamsPerConnection: number;
  /** Streams that the peer of an HTTP/2 connection may reset in a second, and ten times that in one go. */
  readonly resetsPerSecond: number;
  /** Streams that all HTTP/2 connections of an address may open in a second, and as many in one go. */
  readonly streamsPerSecond: number;
  /** Bytes of a request's line and headers. */
  readonly headerBytes: number;
  readonly headerCount: number;
  /** From the first byte of a request to the last of its headers, in milliseconds. */
  readonly headerTimeoutMs: number;
  /** Longest silence in the middle of a body, or while a response is not being read, in milliseconds. */
  readonly stallTimeoutMs: number;
  /** Largest body, in bytes; above it the request is refused with 413, whatever it asks for. */
  readonly bodyBytes: number;
  /** Slowest pace of a body, in bytes a second, once `stallTimeoutMs` is over. */
  readonly bodyBytesPerSecond: number;
  /** How long a connection without a request stays open, in milliseconds. */
  readonly idleTimeoutMs: number;
}

export const defaultLimits: TransportLimits = Object.freeze({
  // A proxy or the gateway comes from one address with all its callers, watchers included.
  connectionsPerAddress: 4_096,
  connections: 16_384,
  // What gRPC servers usually allow; its clients open a further connection when they need more.
  streamsPerConnection: 100,
  // A client that cancels a whole batch resets at most what it may have open; a hundred a second go on all the time.
  resetsPerSecond: 100,
  // More than a process can answer, so it meets nobody who waits for answers.
  streamsPerSecond: 5_000,
  headerBytes: 16 * 1024,
  headerCount: 100,
  headerTimeoutMs: 20_000,
  stallTimeoutMs: 30_000,
  // Whoever reads a body has a limit of its own, and answers it in its own words.
  bodyBytes: Number.MAX_SAFE_INTEGER,
  bodyBytesPerSecond: 512,
  // Balancers keep theirs for 60 s. Whoever closes first must not be the server, or a request is lost on the way.
  idleTimeoutMs: 255_000,
});

/** The smallest and the largest that each can be set to: below it nothing works, above it nothing is bounded. */
const ranges: Readonly<Record<keyof TransportLimits, readonly [min: number, max: number]>> = {
  connectionsPerAddress: [1, 1_000_000],
  connections: [1, 1_000_000],
  streamsPerConnection: [1, 10_000],
  resetsPerSecond: [1, 1_000_000],
  streamsPerSecond: [1, 1_000_000],
  headerBytes: [1_024, 256 * 1024],
  headerCount: [10, 1_000],
  headerTimeoutMs: [100, 600_000],
  stallTimeoutMs: [100, 600_000],
  bodyBytes: [1_024, Number.MAX_SAFE_INTEGER],
  bodyBytesPerSecond: [0, 1_000_000],
  idleTimeoutMs: [100, 3_600_000],
};

function isLimit(name: string): name is keyof TransportLimits {
  return Object.hasOwn(ranges, name);
}

function parseLimits(text: string): Reading {
  const json = parseJson(text);
  if ("wrong" in json) return json;
  if (typeof json.value !== "object" || json.value === null || Array.isArray(json.value)) {
    return { wrong: "is not a JSON object" };
  }
  for (const [name, value] of Object.entries(json.value)) {
    if (!isLimit(name)) return { wrong: `has ${JSON.stringify(name.slice(0, 40))}, which is no limit` };
    const [min, max] = ranges[name];
    if (!Number.isSafeInteger(value) || value < min || value > max) {
      return { wrong: `has a ${name} that is no whole number from ${min} to ${max}` };
    }
  }
  return { value: json.value };
}

/** CONNECTION_LIMITS: a JSON object of those limits that are not to have their default. */
export const connectionLimitsVar = parsedVar<Partial<TransportLimits>>(
  `a JSON object of numbers like {"connectionsPerAddress":1000}, whose names are ${Object.keys(ranges).join(", ")}`,
  parseLimits,
  { default: {} },
);
