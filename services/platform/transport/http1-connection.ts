/**
 * An HTTP/1 connection: one request after the other, each answered whole before the next is looked at.
 *
 * ```
 *            first byte           empty line            response written, body read
 *   idle ───────────────► head ───────────────► busy ──────────────────────────────► idle
 *    │ idle timeout         │ not HTTP, late      │ body broken or late; or no keep-alive
 *    ▼                      ▼                     ▼
 *  closed ◄──────────── lingering ◄───────────────┘
 * ```
 *
 * - What comes during `busy` is the request's body, or it waits: of waiting bytes there is never more than one read.
 * - `lingering`: our last words are out and our side has ended. Bytes still coming are thrown away for a moment, because a
 *   socket that is closed with unread bytes is reset, and the peer would lose the answer.
 * - A peer that ends its side after a whole request still gets the answer, but no stream: nobody would see it leave.
 */
import type { Socket } from "node:net";
import type { Logger } from "../log.ts";
import { BodyInbox } from "./body-inbox.ts";
import { BodyBroken, type Handler, type HttpResponse } from "./exchange.ts";
import { BrokenChunks, type ChunkReader, createChunkReader } from "./http1-chunks.ts";
import { type Http1Head, type Http1Refusal, isRefusal, mayBeHttp1, readHttp1Head, refused } from "./http1-head.ts";
import { writeReply } from "./http1-response.ts";
import type { TransportLimits } from "./limits.ts";

export interface Http1Options {
  readonly handler: Handler;
  readonly limits: TransportLimits;
  readonly log: Logger;
  readonly address: string;
}

/** A request from its last header to the end of both its body and its response. */
interface Exchange {
  readonly head: Http1Head;
  readonly inbox: BodyInbox;
  readonly gone: AbortController;
  /** What is missing of a body with a length; of a chunked one the reader knows. */
  left: number;
  readonly chunks: ChunkReader | undefined;
  received: number;
  /** Moved on by the time that the body has waited for us. */
  startedMs: number;
  progressMs: number;
  saidContinue: boolean;
  isResponding: boolean;
  responseEnded: boolean;
}

/** Bytes of a body that come to nothing may be this many for the connection to go on after it. */
const drainBytes = 64 * 1024;
const waitingBytes = 64 * 1024;
const lingerMs = 2_000;
const tooLarge = refused(413, "The request's body is too large.");
const emptyLine = Buffer.from("\r\n\r\n");
const carriageReturn = 13;
const lineFeed = 10;

export class Http1Connection {
  private state: "idle" | "head" | "busy" | "lingering" = "idle";
  private sinceMs = performance.now();
  private waiting: Buffer | undefined;
  private scanned = 0;
  private exchange: Exchange | undefined;
  private isFirst = true;
  private stopping = false;
  private peerEnded = false;
  private blockedMs: number | undefined;

  constructor(
    private readonly socket: Socket,
    private readonly options: Http1Options,
  ) {
    socket.on("data", (chunk: Buffer) => this.arrived(chunk));
    socket.on("end", () => this.ended());
    socket.once("close", () => this.closed());
    socket.on("drain", () => {
      this.blockedMs = undefined;
    });
  }

  /** Whether the peer's turn it is: such a connection may be closed for another one's sake. */
  get awaitsPeer(): boolean {
    return this.state !== "busy" || !isComplete(this.exchange!);
  }

  /** No further request; the present one is answered. */
  stop(): void {
    this.stopping = true;
    if (this.state === "idle") this.linger();
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Looks whether the peer has kept us waiting for too long. */
  check(nowMs: number): void {
    const { limits } = this.options;
    const waitedMs = nowMs - this.sinceMs;
    if (this.isBlocked(nowMs)) this.socket.destroy();
    else if (this.state === "lingering" && waitedMs > lingerMs) this.socket.destroy();
    else if (this.state === "idle" && waitedMs > (this.isFirst ? limits.headerTimeoutMs : limits.idleTimeoutMs))
      this.linger();
    else if (this.state === "head" && waitedMs > limits.headerTimeoutMs)
      this.refuse(refused(408, "The request's headers did not come in time."));
    else if (this.state === "busy" && isLate(this.exchange!, nowMs, limits))
      this.refuse(refused(408, "The request's body did not come in time."));
  }

  /** A response that nobody takes holds memory of ours. */
  private isBlocked(nowMs: number): boolean {
    if (this.socket.writableLength === 0) this.blockedMs = undefined;
    else this.blockedMs ??= nowMs;
    return this.blockedMs !== undefined && nowMs - this.blockedMs > this.options.limits.stallTimeoutMs;
  }

  private enter(state: "idle" | "head" | "busy" | "lingering"): void {
    this.state = state;
    this.sinceMs = performance.now();
  }

  private arrived(chunk: Buffer): void {
    if (this.state === "lingering") return;
    if (this.exchange === undefined) {
      this.wait(chunk);
      this.readHead();
    } else if (isComplete(this.exchange)) this.wait(chunk);
    else this.readBody(this.exchange, chunk);
  }

  private wait(chunk: Buffer): void {
    this.waiting = this.waiting === undefined ? chunk : Buffer.concat([this.waiting, chunk]);
    if (this.exchange !== undefined && this.waiting.length > waitingBytes) this.socket.pause();
  }

  private readHead(): void {
    const bytes = this.takeEmptyLines();
    if (bytes === undefined) return;
    if (this.state === "idle") this.enter("head");
    const end = bytes.indexOf(emptyLine, Math.max(0, this.scanned - emptyLine.length));
    const { headerBytes, headerCount } = this.options.limits;
    if (end > headerBytes || (end < 0 && bytes.length > headerBytes)) {
      const isLine = !bytes.subarray(0, headerBytes).includes(lineFeed);
      this.refuse(refused(isLine ? 414 : 431, `Line and headers have at most ${headerBytes} bytes.`));
    } else if (end < 0 && this.peerEnded) {
      this.socket.destroySoon();
    } else if (end < 0) {
      this.scanned = bytes.length;
      this.socket.resume();
      if (!mayBeHttp1(bytes)) this.refuse(refused(400, "This is not HTTP/1.1."));
    } else {
      this.scanned = 0;
      this.waiting = undefined;
      const head = readHttp1Head(bytes.toString("latin1", 0, end), headerCount);
      if (isRefusal(head)) this.refuse(head);
      else this.begin(head, bytes.subarray(end + emptyLine.length));
    }
  }

  /** Some clients send an empty line more after a body. */
  private takeEmptyLines(): Buffer | undefined {
    let bytes = this.waiting;
    while (bytes !== undefined && bytes.length >= 2 && bytes[0] === carriageReturn && bytes[1] === lineFeed) {
      bytes = bytes.length === 2 ? undefined : bytes.subarray(2);
    }
    this.waiting = bytes;
    return bytes;
  }

  private begin(head: Http1Head, rest: Buffer): void {
    const nowMs = performance.now();
    const exchange: Exchange = {
      head,
      inbox: new BodyInbox({ onWanted: () => this.sayContinue(exchange), onRoom: () => this.goOn(exchange) }),
      gone: new AbortController(),
      left: head.body === "chunked" ? 0 : head.body,
      chunks: head.body === "chunked" ? createChunkReader() : undefined,
      received: 0,
      startedMs: nowMs,
      progressMs: nowMs,
      saidContinue: !head.expectsContinue,
      isResponding: false,
      responseEnded: false,
    };
    this.exchange = exchange;
    this.isFirst = false;
    this.enter("busy");
    const wholeBody = this.wholeBody(exchange, rest);
    if (exchange.left > this.options.limits.bodyBytes) this.refuse(tooLarge);
    if (isComplete(exchange)) exchange.inbox.end();
    else if (!exchange.inbox.isFull) this.socket.resume();
    if (this.exchange === exchange) this.hand(exchange, wholeBody);
  }

  /** Most bodies come with their headers; the others are read as they come. */
  private wholeBody(exchange: Exchange, rest: Buffer): Uint8Array<ArrayBuffer> | undefined {
    const { left } = exchange;
    const isWhole = exchange.chunks === undefined && rest.length >= left;
    if (rest.length > 0) this.readBody(exchange, rest);
    return isWhole ? new Uint8Array(rest.buffer as ArrayBuffer, rest.byteOffset, left) : undefined;
  }

  private hand(exchange: Exchange, wholeBody: Uint8Array<ArrayBuffer> | undefined): void {
    const { head, inbox, gone } = exchange;
    const { version, method, target, header } = head;
    const { address, handler } = this.options;
    handler({ version, method, target, header, body: inbox, wholeBody, signal: gone.signal, address })
      .then(
        (response) => this.respond(exchange, response),
        (error: unknown) => this.failed(exchange, error),
      )
      .catch((error: unknown) => this.gaveUp(error));
  }

  private readBody(exchange: Exchange, bytes: Buffer): void {
    let used: number;
    try {
      used = this.takeBody(exchange, bytes);
    } catch (error) {
      if (!(error instanceof BrokenChunks)) throw error;
      this.refuse(refused(400, error.message));
      return;
    }
    exchange.received += used;
    exchange.progressMs = performance.now();
    if (exchange.received > this.options.limits.bodyBytes) {
      this.refuse(tooLarge);
      return;
    }
    if (used < bytes.length) this.wait(bytes.subarray(used));
    if (!isComplete(exchange)) {
      if (exchange.inbox.isFull) this.socket.pause();
      return;
    }
    exchange.inbox.end();
    if (exchange.responseEnded) this.next();
  }

  private goOn(exchange: Exchange): void {
    const nowMs = performance.now();
    exchange.startedMs += nowMs - exchange.progressMs;
    exchange.progressMs = nowMs;
    this.socket.resume();
  }

  private takeBody(exchange: Exchange, bytes: Buffer): number {
    const { chunks, left, inbox, responseEnded } = exchange;
    if (chunks === undefined) {
      const part = left < bytes.length ? bytes.subarray(0, left) : bytes;
      exchange.left -= part.length;
      if (!responseEnded) inbox.push(part);
      return part.length;
    }
    const parts: Buffer[] = [];
    const used = chunks.read(bytes, (part) => parts.push(part));
    // The reader has one thing to wait for in each read, however small the chunks are.
    if (!responseEnded && parts.length > 0) inbox.push(parts.length === 1 ? parts[0]! : Buffer.concat(parts));
    return used;
  }

  private sayContinue(exchange: Exchange): void {
    if (exchange.saidContinue || this.exchange !== exchange || exchange.isResponding) return;
    exchange.saidContinue = true;
    this.socket.write("HTTP/1.1 100 Continue\r\n\r\n", "latin1");
  }

  private async respond(exchange: Exchange, response: HttpResponse): Promise<void> {
    if (this.exchange !== exchange) {
      discard(response);
      return;
    }
    exchange.isResponding = true;
    const isStream = response.body !== undefined && !(response.body instanceof Uint8Array);
    if (isStream && this.peerEnded) exchange.gone.abort();
    const { head } = exchange;
    const goesOn = () =>
      isComplete(exchange) || (exchange.saidContinue && exchange.left > 0 && exchange.left < drainBytes);
    const closes = response.header?.get("connection") === "close";
    const isLast = this.stopping || (this.peerEnded && this.waiting === undefined);
    const keepsAlive = head.keepsAlive && !isLast && !closes && goesOn();
    const { version } = head;
    const whole = await writeReply(this.socket, { response, isHead: head.method === "HEAD", version, keepsAlive });
    if (this.exchange !== exchange) return;
    if (!whole) this.socket.destroy();
    else if (!keepsAlive) this.linger();
    else this.responded(exchange);
  }

  private responded(exchange: Exchange): void {
    exchange.responseEnded = true;
    exchange.inbox.drop();
    if (isComplete(exchange)) this.next();
    else this.socket.resume();
  }

  private failed(exchange: Exchange, error: unknown): Promise<void> | undefined {
    if (this.exchange !== exchange || error instanceof BodyBroken) return undefined;
    this.options.log.error({ err: error }, "an HTTP/1.1 request failed");
    return this.respond(exchange, plainResponse(500, "Something went wrong on our side."));
  }

  private gaveUp(error: unknown): void {
    this.options.log.error({ err: error }, "an HTTP/1.1 response could not be written");
    this.socket.destroy();
  }

  private next(): void {
    this.exchange = undefined;
    this.enter("idle");
    // What waits is answered first: reading on would pile up whatever a peer sends that does not read.
    if (this.waiting === undefined || this.waiting.length <= waitingBytes) this.socket.resume();
    // A pipelined request has its turn after the other connections have had theirs.
    if (this.waiting !== undefined) setImmediate(() => this.readWaiting());
    else if (this.stopping || this.peerEnded) this.linger();
  }

  private readWaiting(): void {
    if (this.state === "idle" && this.waiting !== undefined) this.readHead();
  }

  /** The last words on a connection whose next byte cannot be understood. */
  private refuse(refusal: Http1Refusal): void {
    const { exchange } = this;
    this.exchange = undefined;
    exchange?.inbox.breakOff();
    exchange?.gone.abort();
    if (exchange?.isResponding === true) {
      this.socket.destroy();
      return;
    }
    const response = plainResponse(refusal.status, refusal.message);
    void writeReply(this.socket, { response, isHead: false, version: "1.1", keepsAlive: false });
    this.linger();
  }

  private linger(): void {
    this.exchange?.inbox.breakOff();
    this.exchange = undefined;
    this.waiting = undefined;
    this.enter("lingering");
    this.socket.resume();
    this.socket.end();
    if (this.peerEnded) this.socket.destroySoon();
  }

  /** The peer sends no more. */
  private ended(): void {
    this.peerEnded = true;
    const { exchange } = this;
    // What waits to be read has come whole or never will.
    const isWaiting = this.state === "idle" && this.waiting !== undefined;
    if (exchange === undefined) {
      if (!isWaiting) this.socket.destroySoon();
    } else if (!isComplete(exchange)) this.socket.destroySoon();
    else if (exchange.isResponding) exchange.gone.abort();
  }

  private closed(): void {
    const { exchange } = this;
    this.exchange = undefined;
    this.waiting = undefined;
    exchange?.inbox.breakOff();
    exchange?.gone.abort();
  }
}

function isComplete({ chunks, left }: Exchange): boolean {
  return chunks === undefined ? left === 0 : chunks.isDone;
}

/** A body that stands still, or comes so slowly that its connection is only held. Bytes that wait for us do not count. */
function isLate(exchange: Exchange, nowMs: number, limits: TransportLimits): boolean {
  if (isComplete(exchange) || exchange.inbox.isFull) return false;
  if (nowMs - exchange.progressMs > limits.stallTimeoutMs) return true;
  const grownSeconds = (nowMs - exchange.startedMs - limits.stallTimeoutMs) / 1_000;
  return exchange.received < grownSeconds * limits.bodyBytesPerSecond;
}

export function plainResponse(status: number, message: string): HttpResponse {
  const body = new TextEncoder().encode(`${message}\n`);
  return { status, header: new Headers({ "content-type": "text/plain; charset=utf-8" }), body };
}

/** A stream that is never read would keep what it is made of. */
function discard({ body }: HttpResponse): void {
  if (body === undefined || body instanceof Uint8Array) return;
  void body[Symbol.asyncIterator]()
    .return?.()
    ?.catch(() => undefined);
}
