/**
 * One connection to the Bot API, and one request at a time on it:
 *
 * ```
 *   opening ──stands, certificate good──► idle ──exchange──► writing ──last byte──► waiting ──whole answer──► idle
 *      │ never stood                       │ bytes, end         │ early answer         │ cut, time, broken
 *      └───────────────────────────────────┴────────────────────┴──────────────────────┴──────► closed
 * ```
 *
 * Invariants:
 * 1. A request counts as written from its first byte that the socket takes; over TLS from the first that is handed on, for
 *    nobody can say what that layer has passed on. Whatever ends it before that is proof that nothing was sent.
 * 2. Each request is written once, on one connection, and has one end.
 * 3. Bytes that come while no request is out answer nothing: the connection closes.
 * 4. An answer that comes before its request is wholly taken counts only if it is a 4xx, and closes the connection. The
 *    same goes for one that cannot be read whole: a 4xx is a refusal without its reason, anything else is in doubt.
 */
import type { Socket, TCPSocketConnectOptions, TLSOptions } from "bun";
import { HttpAnswer } from "./http-answer.ts";

/** How one request ended. */
export type Exchange =
  /** `text` is undefined where the answer could not be read whole. */
  | { end: "answered"; status: number; retryAfter: string | undefined; text: string | undefined }
  | { end: "notWritten" }
  | { end: "lost"; how: "timeout" | "cut" | "unreadable" };

export interface HttpRequest {
  /** The head and what of the body is there, in one piece. */
  start: Uint8Array;
  /** The rest of the body, taken piece by piece. */
  rest?: AsyncIterable<Uint8Array>;
  /** Asked right before the first byte, after everything that takes time; not written where it says no. */
  mayWrite?: () => boolean;
  /** Called when the first byte is taken. */
  onWritten?: () => void;
}

/** No connection stood: its address, the network or its certificate was at fault. Names none of them. */
export class NotConnectedError extends Error {
  constructor() {
    super("No connection could be opened.");
  }
}

export interface Address {
  hostname: string;
  port: number;
  /** For TLS; `true` trusts what the system trusts. */
  tls?: true | TLSOptions;
}

type Wire = Socket<Connection>;

/** What is under way. */
interface Out {
  answer: HttpAnswer;
  /** The socket has taken something. */
  written: boolean;
  /** The socket has taken all. */
  taken: boolean;
  finish: (exchange: Exchange) => void;
}

/**
 * Opens a connection that a request may go onto at once.
 * @throws NotConnectedError, at the latest after `timeoutMs`.
 */
export async function openConnection(address: Address, timeoutMs: number): Promise<Connection> {
  const connection = new Connection(address.tls !== undefined);
  const timer = setTimeout(() => connection.close(), timeoutMs);
  const options: TCPSocketConnectOptions<Connection> = { ...address, data: connection, socket: HANDLERS };
  try {
    Bun.connect(options).catch(() => connection.close());
  } catch {
    // An address that cannot be one.
    connection.close();
  }
  try {
    await connection.stands;
    return connection;
  } finally {
    clearTimeout(timer);
  }
}

export class Connection {
  readonly #standing = Promise.withResolvers<void>();
  readonly #secure: boolean;
  #socket: Wire | undefined;
  #out: Out | undefined;
  #closed = false;
  /** Ends the wait of whoever waits for room in the socket. */
  #room: (() => void) | undefined;
  /** How long the server keeps it without a request, where it has said so. */
  idleMs: number | undefined;

  constructor(secure: boolean) {
    this.#secure = secure;
  }

  /** Resolves when a request may be written; rejects with NotConnectedError. */
  get stands(): Promise<void> {
    return this.#standing.promise;
  }

  get isOpen(): boolean {
    return !this.#closed;
  }

  /** Writes a request and reads its answer. Never rejects; whatever ends it other than a whole answer closes this. */
  exchange(request: HttpRequest, timeoutMs: number): Promise<Exchange> {
    const { promise, resolve } = Promise.withResolvers<Exchange>();
    if (this.#closed || request.mayWrite?.() === false) return Promise.resolve({ end: "notWritten" });
    const timer = setTimeout(() => this.#lose("timeout"), timeoutMs);
    this.#out = {
      answer: new HttpAnswer(),
      written: false,
      taken: false,
      finish: (exchange) => {
        clearTimeout(timer);
        resolve(exchange);
      },
    };
    this.#write(this.#out, request);
    return promise;
  }

  /** Whatever is out is lost by it. Safe twice. */
  close(): void {
    if (this.#out) this.#lose("cut");
    else this.#shut((socket) => socket.end());
  }

  // What the socket tells

  opened(socket: Wire): void {
    this.#socket = socket;
    if (this.#closed) socket.terminate();
    else if (!this.#secure) this.#standing.resolve();
  }

  shookHands(error: Error | null): void {
    if (error === null) this.#standing.resolve();
    else this.close();
  }

  received(bytes: Buffer): void {
    this.#out?.answer.feed(bytes);
    if (this.#out) this.#judge(this.#out);
    else this.close();
  }

  /** The server writes no more. */
  ended(): void {
    this.#out?.answer.end();
    if (this.#out?.answer.isWhole) this.#judge(this.#out);
    this.close();
  }

  drained(): void {
    this.#room?.();
  }

  // Writing

  #write(out: Out, request: HttpRequest): void {
    const waiting = this.#hand(out, request.start, request.onWritten);
    if (!waiting && !request.rest) out.taken = true;
    else void this.#writeRest(out, waiting, request).catch(() => this.#loseOut(out));
  }

  async #writeRest(out: Out, waiting: Promise<void> | undefined, { rest, onWritten }: HttpRequest): Promise<void> {
    await waiting;
    // Untouched where nothing was written, so that another connection can take it.
    if (!this.#isWriting(out)) return;
    for await (const piece of rest ?? []) {
      if (!this.#isWriting(out)) return;
      await this.#hand(out, piece, onWritten);
    }
    if (this.#isWriting(out)) out.taken = true;
  }

  /** Not after it has ended, nor after a refusal has come: that one only waits for its end. */
  #isWriting(out: Out): boolean {
    return this.#out === out && out.answer.status === undefined;
  }

  /** @returns a promise where the socket has no room for all of it. */
  #hand(out: Out, bytes: Uint8Array, onWritten?: () => void): Promise<void> | undefined {
    const taken = this.#handOnce(out, bytes, onWritten);
    return taken >= bytes.length ? undefined : this.#handRest(out, bytes.subarray(taken), onWritten);
  }

  async #handRest(out: Out, bytes: Uint8Array, onWritten?: () => void): Promise<void> {
    for (let rest = bytes; rest.length > 0 && this.#isWriting(out); ) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#room = resolve;
      await promise;
      if (this.#isWriting(out)) rest = rest.subarray(this.#handOnce(out, rest, onWritten));
    }
  }

  #handOnce(out: Out, bytes: Uint8Array, onWritten?: () => void): number {
    const wasWritten = out.written;
    out.written ||= this.#secure;
    const taken = this.#socket!.write(bytes);
    out.written ||= taken > 0;
    if (out.written && !wasWritten) onWritten?.();
    if (taken < 0) this.close();
    return Math.max(0, taken);
  }

  // Ends

  #judge(out: Out): void {
    const { answer, taken } = out;
    const isEarly = answer.status !== undefined && !taken;
    if (answer.isBroken || (isEarly && !isRefusal(answer))) {
      this.#lose("unreadable");
      return;
    }
    if (!answer.isWhole) return;
    this.idleMs = answer.idleMs;
    this.#finish({ end: "answered", status: answer.status!, retryAfter: answer.retryAfter, text: answer.text });
    if (isEarly || !answer.keepsConnection) this.close();
  }

  #loseOut(out: Out): void {
    if (this.#out === out) this.#lose("cut");
  }

  #lose(how: "timeout" | "cut" | "unreadable"): void {
    if (!this.#out) return;
    const { answer, written } = this.#out;
    if (!written) this.#finish({ end: "notWritten" });
    else if (!isRefusal(answer)) this.#finish({ end: "lost", how });
    else this.#finish({ end: "answered", status: answer.status!, retryAfter: answer.retryAfter, text: undefined });
    // What the network still has of it is taken back.
    this.#shut((socket) => socket.terminate());
  }

  #shut(end: (socket: Wire) => void): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#standing.reject(new NotConnectedError());
    this.#room?.();
    if (this.#socket) end(this.#socket);
  }

  #finish(exchange: Exchange): void {
    const out = this.#out;
    this.#out = undefined;
    out?.finish(exchange);
  }
}

function isRefusal({ status = 0 }: HttpAnswer): boolean {
  return status >= 400 && status < 500;
}

/** One object for all connections. */
const HANDLERS: TCPSocketConnectOptions<Connection>["socket"] = {
  open: (socket) => socket.data.opened(socket),
  handshake: (socket, isGood, error) => socket.data.shookHands(isGood ? error : (error ?? new Error("No handshake."))),
  data: (socket, bytes) => socket.data.received(bytes),
  drain: (socket) => socket.data.drained(),
  end: (socket) => socket.data.ended(),
  close: (socket) => socket.data.close(),
  error: (socket) => socket.data.close(),
  connectError: (socket) => socket.data?.close(),
};
