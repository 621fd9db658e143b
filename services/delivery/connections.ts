/**
 * Requests to the Bot API over connections that are kept: some hundreds are on the wire at once, and over TLS each new
 * connection is a handshake. HTTP/1.1 is spoken by our own few lines, because only they know whether a request has been
 * written: the runtime's clients tell neither that nor what came unasked. It also takes a quarter of their processor time.
 *
 * No redirect is followed: the message could arrive twice, and the token at somebody else's.
 */
import type { TLSOptions } from "bun";
import { type Address, type Connection, type Exchange, type HttpRequest, openConnection } from "./connection.ts";

export type { Exchange } from "./connection.ts";

export interface Post extends Pick<HttpRequest, "rest" | "mayWrite" | "onWritten"> {
  /** Below the root, and ASCII as a URL has it. */
  path: string;
  contentType: string;
  /** Of the whole body, in bytes. */
  length: number;
  /** The beginning of the body, all of it where there is no `rest`. */
  start: Uint8Array | string;
  timeoutMs: number;
}

export interface Connections {
  /**
   * One POST, written once.
   * @throws before anything is written where no request can be made of it; the error names neither path nor host.
   */
  post(request: Post): Promise<Exchange>;
}

export interface ConnectionsOptions {
  /** For TLS; a `ca` in it is trusted instead of what the system trusts. */
  tls?: TLSOptions;
}

/** Connections that wait for their next request; more are closed. */
const MAX_IDLE_CONNECTIONS = 4_096;
/**
 * Shorter than servers and what stands between keep an idle connection: a request that is written to one while it is being
 * closed is in doubt. HTTP servers wait from 5 s (Node) to 75 s (nginx).
 */
const IDLE_MS = 4_000;
/** Where a server says how long it waits, we are faster by this. */
const IDLE_MARGIN_MS = 1_000;
const SWEEP_MS = 500;
/** What is left of a request's time when its connection stands must do for its answer. */
const MAX_CONNECT_MS = 5_000;

/** @param apiRoot for example https://api.telegram.org; a path in it stands before each request's. */
export function createConnections(apiRoot: string, options: ConnectionsOptions = {}): Connections {
  const url = new URL(apiRoot);
  const root = url.pathname.replace(/\/+$/, "");
  const address = addressOf(url, options.tls);
  const idle = new IdleConnections();

  async function post(request: Post): Promise<Exchange> {
    const { timeoutMs } = request;
    const written: HttpRequest = { ...request, start: startOf(url.host, root, request) };
    const endsAt = performance.now() + timeoutMs;
    for (let kept = await idle.take(); kept; kept = await idle.take()) {
      const exchange = await kept.exchange(written, endsAt - performance.now());
      idle.put(kept);
      // Closed meanwhile, before anything was written: another one takes the request.
      if (exchange.end !== "notWritten" || kept.isOpen) return exchange;
    }
    const fresh = await openConnection(address, Math.min(MAX_CONNECT_MS, timeoutMs / 2)).catch(() => undefined);
    if (!fresh) return { end: "notWritten" };
    await nextPoll();
    const exchange = await fresh.exchange(written, endsAt - performance.now());
    idle.put(fresh);
    return exchange;
  }

  return { post };
}

function addressOf({ protocol, hostname, port }: URL, tls: TLSOptions | undefined): Address {
  const isSecure = protocol === "https:";
  // URL keeps the brackets of an IPv6 address, which no resolver knows.
  const name = hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
  const number = port === "" ? (isSecure ? 443 : 80) : Number(port);
  return { hostname: name, port: number, ...(isSecure ? { tls: tls ?? true } : {}) };
}

/** A character that does not belong into a request line would end it, or be a header. */
const PATH = /^\/[\x21-\x7e]*$/;

function startOf(host: string, root: string, { path, contentType, length, start }: Post): Uint8Array {
  if (!PATH.test(path)) throw new Error("The method's address holds a character that no address may hold.");
  const head = `POST ${root}${path} HTTP/1.1\r\nhost: ${host}\r\ncontent-type: ${contentType}\r\ncontent-length: ${length}\r\n\r\n`;
  return typeof start === "string" ? Buffer.from(head + start) : Buffer.concat([Buffer.from(head), start]);
}

/** Connections without a request, the last used on top. */
class IdleConnections {
  readonly #stack: { connection: Connection; until: number }[] = [];
  #sweeping = false;

  put(connection: Connection): void {
    if (!connection.isOpen) return;
    const { idleMs = Number.POSITIVE_INFINITY } = connection;
    const forMs = Math.min(IDLE_MS, idleMs - IDLE_MARGIN_MS);
    if (forMs <= 0 || this.#stack.length >= MAX_IDLE_CONNECTIONS) {
      connection.close();
      return;
    }
    this.#stack.push({ connection, until: performance.now() + forMs });
    this.#sweepLater();
  }

  /** One that was still open after all that had come for it was read: bytes that nobody asked for close it. */
  async take(): Promise<Connection | undefined> {
    for (let top = this.#stack.pop(); top; top = this.#stack.pop()) {
      if (performance.now() < top.until) await nextPoll();
      else top.connection.close();
      if (top.connection.isOpen) return top.connection;
    }
    return undefined;
  }

  #sweepLater(): void {
    if (this.#sweeping) return;
    this.#sweeping = true;
    setTimeout(() => this.#sweep(), SWEEP_MS).unref();
  }

  #sweep(): void {
    this.#sweeping = false;
    const now = performance.now();
    const kept = this.#stack.filter(({ connection, until }) => connection.isOpen && now < until);
    for (const { connection, until } of this.#stack) if (now >= until) connection.close();
    this.#stack.splice(0, this.#stack.length, ...kept);
    if (kept.length > 0) this.#sweepLater();
  }
}

/** When the sockets have been read once more: the runtime reads them between the first and the second of these. */
function nextPoll(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setImmediate(() => setImmediate(resolve));
  return promise;
}
