/**
 * Who may open HTTP/2 sessions, by address. A session costs a millisecond, and each of its streams half of one before its
 * caller is known, so that hundreds of connections at once would keep everybody else waiting for seconds.
 *
 * ```
 *   arrived ── room in the pace ─────────────► served
 *      │ └─ no room: waits, unread ──────────► served, when there is
 *      └─── its address is shut ─────────────► closed after a second
 * ```
 *
 * An address is shut from the reset that was one too many until its budget of resets is full again.
 */
import type { Socket } from "node:net";
import { type Budget, createBudget } from "./http2-guard.ts";
import type { TransportLimits } from "./limits.ts";

export interface Http2Door {
  /** Calls `serve` when it is this connection's turn, or closes it. */
  pass(socket: Socket, bucket: string, serve: () => void): void;
  /** Counts a reset on a connection of this address; false when there have been too many. */
  countReset(bucket: string): boolean;
}

/** One address may reset this many times in a second what one of its connections may, and this many seconds' worth at once. */
const resetsOfAddress = 2;
const resetBurstSeconds = 2;
/** Clients open a few connections and keep them; a pool of forty is open at once, and a larger one a second later. */
const sessionsPerSecond = 20;
const sessionBurst = 40;
const retryMs = 50;
/** Closed at once, it would be opened again at once: accepting and closing takes a processor, too. */
const closeLaterMs = 1_000;
const sweepMs = 10_000;

interface Address {
  readonly resets: Budget;
  readonly sessions: Budget;
  isShut: boolean;
}

export function createHttp2Door({ resetsPerSecond }: TransportLimits): Http2Door {
  const addresses = new Map<string, Address>();
  const resetRate = resetsPerSecond * resetsOfAddress;
  let sweptMs = performance.now();

  function addressOf(bucket: string, nowMs: number): Address {
    if (nowMs - sweptMs > sweepMs) sweep(nowMs);
    const known = addresses.get(bucket);
    if (known !== undefined) return known;
    const resets = createBudget(resetRate, resetRate * resetBurstSeconds);
    const address = { resets, sessions: createBudget(sessionsPerSecond, sessionBurst), isShut: false };
    addresses.set(bucket, address);
    return address;
  }

  /** An address that has used nothing lately has no entry. */
  function sweep(nowMs: number): void {
    sweptMs = nowMs;
    for (const [bucket, { resets, sessions }] of addresses) {
      if (resets.isFull(nowMs) && sessions.isFull(nowMs)) addresses.delete(bucket);
    }
  }

  function pass(socket: Socket, bucket: string, serve: () => void): void {
    if (socket.destroyed) return;
    const nowMs = performance.now();
    const address = addressOf(bucket, nowMs);
    if (address.isShut && address.resets.isFull(nowMs)) address.isShut = false;
    if (address.isShut) closeLater(socket);
    else if (address.sessions.take(nowMs)) {
      serve();
      if (socket.isPaused()) socket.resume();
    } else {
      socket.pause();
      setTimeout(() => pass(socket, bucket, serve), retryMs);
    }
  }

  return {
    pass,
    countReset: (bucket) => {
      const nowMs = performance.now();
      const address = addressOf(bucket, nowMs);
      if (address.resets.take(nowMs)) return true;
      address.isShut = true;
      return false;
    },
  };
}

function closeLater(socket: Socket): void {
  socket.pause();
  const timer = setTimeout(() => socket.destroy(), closeLaterMs);
  socket.once("close", () => clearTimeout(timer));
}
