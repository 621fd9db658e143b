/**
 * Counts the frames that an HTTP/2 peer sends, before the engine sees them. The engine (Bun's `node:http2`) speaks the
 * protocol; what a peer may do within the protocol but never stops doing is bounded here: resets, settings, pings,
 * window updates, empty frames, header blocks that never end.
 *
 * ```
 *   preface ──► frame head (9 bytes) ──► payload ──► frame head …
 * ```
 *
 * Only heads are looked at; payloads are counted by.
 */
import type { TransportLimits } from "./limits.ts";

export interface Http2Guard {
  /** Why the connection has to end, if it has to. */
  see(bytes: Buffer, nowMs: number): string | undefined;
  /** How many streams the peer has reset. */
  readonly resets: number;
  /** Since when a frame or a block of headers is incomplete; undefined when none is. */
  readonly incompleteSinceMs: number | undefined;
}

/** Each counts one, and is false when there have been too many. */
export interface AddressBudgets {
  reset(): boolean;
  stream(): boolean;
}

export interface Http2GuardOptions {
  readonly limits: TransportLimits;
  /** What all connections of the peer's address may do. */
  readonly address: AddressBudgets;
}

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const headBytes = 9;
/** What an endpoint has to take that has not asked for more; we do not. */
const maxFrameBytes = 16_384;
/** Header compression never makes a block of permitted size need more frames than this. */
const maxContinuations = 8;
const frame = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  ping: 6,
  windowUpdate: 8,
  continuation: 9,
} as const;
const flag = { endStream: 1, endHeaders: 4 } as const;
/** Settings, pings, priorities, empty data and unknown frames: clients send a handful, and a ping for each read. */
const idleFramesPerSecond = 200;
/** Two for each 16 KiB of a response, at most; this allows for 80 MB/s on one connection. */
const windowUpdatesPerSecond = 10_000;

export function createHttp2Guard({ limits, address }: Http2GuardOptions): Http2Guard {
  const head = Buffer.alloc(headBytes);
  const resets = createBudget(limits.resetsPerSecond, limits.resetsPerSecond * 10);
  const idleFrames = createBudget(idleFramesPerSecond, idleFramesPerSecond * 10);
  const windowUpdates = createBudget(windowUpdatesPerSecond, windowUpdatesPerSecond);
  let resetCount = 0;
  let prefaceSeen = 0;
  let headSeen = 0;
  let payloadLeft = 0;
  let block: { bytes: number; frames: number } | undefined;
  let incompleteSinceMs: number | undefined;

  function seePreface(bytes: Buffer): number | undefined {
    const length = Math.min(bytes.length, preface.length - prefaceSeen);
    if (!bytes.subarray(0, length).equals(preface.subarray(prefaceSeen, prefaceSeen + length))) return undefined;
    prefaceSeen += length;
    return length;
  }

  function seeFrame(nowMs: number): string | undefined {
    const length = head.readUIntBE(0, 3);
    const type = head[3]!;
    const flags = head[4]!;
    payloadLeft = length;
    if (length > maxFrameBytes) return "a frame is too large";
    if (type === frame.headers || type === frame.continuation) return seeBlock(type, length, flags);
    if (block !== undefined) return "a block of headers was interrupted";
    if (type === frame.reset) {
      resetCount += 1;
      return resets.take(nowMs) && address.reset() ? undefined : "too many resets";
    }
    if (type === frame.windowUpdate) return windowUpdates.take(nowMs) ? undefined : "too many window updates";
    if (type === frame.data && (length > 0 || (flags & flag.endStream) !== 0)) return undefined;
    return idleFrames.take(nowMs) ? undefined : "too many frames that say nothing";
  }

  function seeBlock(type: number, length: number, flags: number): string | undefined {
    if ((type === frame.headers) !== (block === undefined)) return "a block of headers is out of order";
    // A single read can hold a thousand requests, each of which costs what a call costs before it can be refused.
    if (type === frame.headers && !address.stream()) return "too many streams in a second";
    block ??= { bytes: 0, frames: 0 };
    block.bytes += length;
    block.frames += 1;
    if (block.bytes > limits.headerBytes || block.frames > maxContinuations) return "a block of headers is too long";
    if ((flags & flag.endHeaders) !== 0) block = undefined;
    return undefined;
  }

  function seeFrames(bytes: Buffer, from: number, nowMs: number): string | undefined {
    let at = from;
    while (at < bytes.length) {
      if (payloadLeft > 0) {
        const taken = Math.min(payloadLeft, bytes.length - at);
        payloadLeft -= taken;
        at += taken;
        continue;
      }
      const taken = bytes.copy(head, headSeen, at, Math.min(bytes.length, at + headBytes - headSeen));
      headSeen += taken;
      at += taken;
      if (headSeen < headBytes) break;
      headSeen = 0;
      const violation = seeFrame(nowMs);
      if (violation !== undefined) return violation;
    }
    return undefined;
  }

  return {
    see: (bytes, nowMs) => {
      const from = prefaceSeen < preface.length ? seePreface(bytes) : 0;
      const violation = from === undefined ? "the preface is not HTTP/2's" : seeFrames(bytes, from, nowMs);
      const isWhole = headSeen === 0 && payloadLeft === 0 && block === undefined && prefaceSeen === preface.length;
      incompleteSinceMs = isWhole ? undefined : (incompleteSinceMs ?? nowMs);
      return violation;
    },
    get resets() {
      return resetCount;
    },
    get incompleteSinceMs() {
      return incompleteSinceMs;
    },
  };
}

export interface Budget {
  /** Takes one; false when there is none. */
  take(nowMs: number): boolean;
  isFull(nowMs: number): boolean;
}

/** `perSecond` of something go on for ever, `burst` of it at once. */
export function createBudget(perSecond: number, burst: number): Budget {
  let left = burst;
  let atMs: number | undefined;
  function refill(nowMs: number): void {
    left = Math.min(burst, left + ((nowMs - (atMs ?? nowMs)) / 1_000) * perSecond);
    atMs = nowMs;
  }
  return {
    take: (nowMs) => {
      refill(nowMs);
      if (left < 1) return false;
      left -= 1;
      return true;
    },
    isFull: (nowMs) => {
      refill(nowMs);
      return left >= burst;
    },
  };
}
