/** How a response goes over an HTTP/1 connection. */
import { STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import type { HttpResponse } from "./exchange.ts";

export interface Http1Reply {
  readonly response: HttpResponse;
  /** HEAD: the headers say what GET's would, and no body follows. */
  readonly isHead: boolean;
  readonly version: "1.0" | "1.1";
  readonly keepsAlive: boolean;
}

/** Fields that are the connection's business; `connection: close` of a handler has been heard by then. */
const ownFields = new Set(["connection", "keep-alive", "transfer-encoding", "content-length", "date"]);
/** Head and body up to this size go out as one piece; copying costs less than a second write. */
const onePieceBytes = 16 * 1024;
/** A large body goes out in pieces of this size, so that a peer that reads slowly is seen to read. */
const pieceBytes = 64 * 1024;
/** 204 and 304 have no body and no length. */
const bodiless = new Set([204, 304]);

/** Writes all of it, waiting for the peer where it must. Resolves false when the response could not be written whole. */
export async function writeReply(socket: Socket, reply: Http1Reply): Promise<boolean> {
  const { response, isHead } = reply;
  const { body } = response;
  if (bodiless.has(response.status)) return await written(socket, headText(reply, undefined));
  if (body === undefined || body instanceof Uint8Array) return await writeWhole(socket, reply, body);
  if (!isHead) return await writeStream(socket, reply, body);
  void body[Symbol.asyncIterator]()
    .return?.()
    ?.catch(() => undefined);
  return await written(socket, headText(reply, streamFraming(reply)));
}

async function writeWhole(socket: Socket, reply: Http1Reply, body: Uint8Array = new Uint8Array()): Promise<boolean> {
  const length = body.byteLength;
  const head = headText(reply, `content-length: ${length}`);
  if (reply.isHead || length === 0) return await written(socket, head);
  if (length <= onePieceBytes) {
    const piece = Buffer.allocUnsafe(head.length + length);
    piece.write(head, "latin1");
    piece.set(body, head.length);
    return await written(socket, piece);
  }
  socket.write(head, "latin1");
  for (let at = 0; at < length; at += pieceBytes) {
    if (!(await written(socket, body.subarray(at, at + pieceBytes)))) return false;
  }
  return true;
}

/**
 * The headers wait for the first bytes, but no longer than a turn of the event loop: a stream may be quiet for long, and
 * one that fails at once is cut before anything of it has been said.
 */
async function writeStream(socket: Socket, reply: Http1Reply, body: AsyncIterable<Uint8Array>): Promise<boolean> {
  const iterator = body[Symbol.asyncIterator]();
  const chunked = reply.version === "1.1";
  let isStarted = false;
  const begin = () => {
    if (!isStarted) socket.write(headText(reply, streamFraming(reply)), "latin1");
    isStarted = true;
  };
  const starting = setImmediate(begin);
  try {
    for (let step = await iterator.next(); step.done !== true; step = await iterator.next()) {
      begin();
      if (step.value.byteLength > 0 && !(await written(socket, chunked ? chunkOf(step.value) : step.value)))
        return false;
    }
    begin();
    if (chunked) socket.write("0\r\n\r\n", "latin1");
    return true;
  } catch {
    // Whoever made the body knows why it failed. The peer sees it by the end that is missing.
    return false;
  } finally {
    clearImmediate(starting);
    // Not waited for: a body whose source hangs must not keep its connection.
    void iterator.return?.()?.catch(() => undefined);
  }
}

function chunkOf(bytes: Uint8Array): Buffer {
  const size = `${bytes.byteLength.toString(16)}\r\n`;
  const chunk = Buffer.allocUnsafe(size.length + bytes.byteLength + 2);
  chunk.write(size, "latin1");
  chunk.set(bytes, size.length);
  chunk.write("\r\n", size.length + bytes.byteLength, "latin1");
  return chunk;
}

/** Whether the socket still stands once it has room for more. */
async function written(socket: Socket, bytes: Uint8Array | string): Promise<boolean> {
  if (socket.destroyed) return false;
  const hasRoom = typeof bytes === "string" ? socket.write(bytes, "latin1") : socket.write(bytes);
  if (hasRoom) return true;
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.once("drain", resolve);
  socket.once("close", resolve);
  await promise;
  socket.off("drain", resolve);
  socket.off("close", resolve);
  return !socket.destroyed;
}

function streamFraming({ version }: Http1Reply): string | undefined {
  return version === "1.1" ? "transfer-encoding: chunked" : undefined;
}

function headText({ response, keepsAlive }: Http1Reply, framing: string | undefined): string {
  let text = `HTTP/1.1 ${response.status} ${STATUS_CODES[response.status] ?? ""}\r\ndate: ${dateNow()}\r\n`;
  for (const [name, value] of response.header ?? []) {
    if (!ownFields.has(name)) text += `${name}: ${value}\r\n`;
  }
  if (framing !== undefined) text += `${framing}\r\n`;
  if (!keepsAlive) text += "connection: close\r\n";
  return `${text}\r\n`;
}

let dateText = "";
let dateOfSecond = 0;

/** Made once a second: formatting a date costs more than writing a short reply. */
function dateNow(): string {
  const second = Math.trunc(Date.now() / 1_000);
  if (second !== dateOfSecond) {
    dateOfSecond = second;
    dateText = new Date(second * 1_000).toUTCString();
  }
  return dateText;
}
