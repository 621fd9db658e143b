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
