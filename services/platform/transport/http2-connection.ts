/** HTTP/2 with prior knowledge over an accepted socket, by Bun's `node:http2` behind a guard that counts frames. */
import {
  constants,
  createServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import { universalResponseToNodeResponse } from "@connectrpc/connect-node";
import type { Logger } from "../log.ts";
import { BodyBroken, type Handler, type HttpRequest, type HttpResponse } from "./exchange.ts";
import { GuardedSocket } from "./guarded-socket.ts";
import { plainResponse } from "./http1-connection.ts";
import { type AddressBudgets, type Budget, createBudget, createHttp2Guard, type Http2Guard } from "./http2-guard.ts";
import type { TransportLimits } from "./limits.ts";
import { asterisk, originForm } from "./target.ts";

export interface Http2Options {
  readonly limits: TransportLimits;
  readonly log: Logger;
}

export interface Http2Engine {
  /** `first` are the bytes that were read to find out which protocol it is. */
  serve(socket: Socket, first: Buffer, peer: Http2Peer): Http2Connection;
}

export interface Http2Peer {
  readonly address: string;
  readonly handler: Handler;
  readonly budgets: AddressBudgets;
}

export interface Http2Connection {
  readonly awaitsPeer: boolean;
  /** No further streams; those that are open end by themselves. */
  stop(): void;
  destroy(): void;
  /** Looks whether the peer has kept us waiting for too long. */
  check(nowMs: number): void;
}

/** What is known of a connection while its session lives. */
interface Session {
  readonly address: string;
  readonly handler: Handler;
  readonly guard: Http2Guard;
  readonly streams: Set<Stream>;
  /** Requests whose stream was reset, by the peer or, for what it had sent, by us. */
  resets: number;
  readonly ownResets: Budget;
  readonly budgets: AddressBudgets;
  readonly destroy: () => void;
  /** Requests under way, those of streams that were reset among them. */
  running: number;
  idleSinceMs: number;
}

interface Stream {
  readonly stream: ServerHttp2Stream;
  /** Since when the peer has not taken what is written; undefined while it is our turn. */
  blockedSinceMs: number | undefined;
}

/** What a client may hold back unasked, in settings that it changes and pings that it sends at once. */
const maxSettings = 32;
const maxHeaderTableBytes = 4_096;

export function createHttp2Engine(options: Http2Options): Http2Engine {
  const sessions = new WeakMap<ServerHttp2Session, Session>();
  const server = createEngine(options.limits);
  let opening: Session | undefined;
  let opened: ServerHttp2Session | undefined;
  server.on("session", (session) => {
    if (opening !== undefined) sessions.set(session, opening);
    opened = session;
    // Without a listener, an error of one peer's session would end the process.
    session.on("error", () => session.destroy());
  });
  server.on("sessionError", () => undefined);
  server.on("stream", (stream) => stream.on("error", () => undefined));
  server.on("request", (request, response) => {
    const session = sessions.get(request.stream.session as ServerHttp2Session);
    if (session === undefined) request.stream.destroy();
    else answer(options, session, request, response);
  });
  return {
    serve: (socket, first, { address, handler, budgets }) => {
      const guard = createHttp2Guard({ limits: options.limits, address: budgets });
      const { resetsPerSecond } = options.limits;
      const state: Session = {
        address,
        handler,
        guard,
        streams: new Set(),
        resets: 0,
        ownResets: createBudget(resetsPerSecond, resetsPerSecond * 10),
        budgets,
        destroy: () => refused(),
        running: 0,
        idleSinceMs: performance.now(),
      };
      opening = state;
      opened = undefined;
      const refused = () => connection.destroy();
      const guarded = new GuardedSocket(socket, (bytes) => {
        const violation = guard.see(bytes, performance.now());
        if (violation === undefined) return true;
        options.log.debug({ violation, address }, "an HTTP/2 connection was closed");
        refused();
        return false;
      });
      // Whoever ends one side of an HTTP/2 connection has gone.
      socket.once("end", refused);
      server.emit("connection", guarded);
      const session = opened as ServerHttp2Session | undefined;
      const connection = createConnection(socket, session, state, options.limits);
      socket.unshift(first);
      return connection;
    },
  };
}

function createEngine({ streamsPerConnection, headerBytes, headerCount }: TransportLimits): Http2Server {
  return createServer({
    maxSettings,
    maxHeaderListPairs: headerCount + 4,
    settings: {
      maxConcurrentStreams: streamsPerConnection,
      maxHeaderListSize: headerBytes,
      headerTableSize: maxHeaderTableBytes,
    },
  });
}

function createConnection(
  socket: Socket,
  session: ServerHttp2Session | undefined,
  state: Session,
  limits: TransportLimits,
): Http2Connection {
  const destroy = () => {
    session?.destroy();
    socket.destroy();
  };
  return {
    get awaitsPeer() {
      return state.running === 0;
    },
    stop: () => session?.close(),
    destroy,
    check: (nowMs) => {
      const since = state.guard.incompleteSinceMs;
      const isIdle = state.streams.size === 0 && nowMs - state.idleSinceMs > limits.idleTimeoutMs;
      if (since !== undefined && nowMs - since > limits.headerTimeoutMs) destroy();
      else if (isIdle) session?.close();
      for (const { stream, blockedSinceMs } of state.streams) {
        if (blockedSinceMs !== undefined && nowMs - blockedSinceMs > limits.stallTimeoutMs) {
          stream.close(constants.NGHTTP2_CANCEL);
        }
      }
    },
  };
}

function answer(
  { limits, log }: Http2Options,
  session: Session,
  request: Http2ServerRequest,
  response: Http2ServerResponse,
): void {
  const { stream } = request;
  if (session.running >= limits.streamsPerConnection * 2) {
    stream.close(constants.NGHTTP2_REFUSED_STREAM);
    return;
  }
  const entry: Stream = { stream: stream as ServerHttp2Stream, blockedSinceMs: undefined };
  session.streams.add(entry);
  session.running += 1;
  const closed = Promise.withResolvers<void>();
  stream.once("close", () => {
    closed.resolve();
    session.streams.delete(entry);
    session.idleSinceMs = performance.now();
    if (stream.rstCode !== constants.NGHTTP2_NO_ERROR && !mayReset(session)) session.destroy();
  });
  const reply = handled(session.handler, request, session.address);
  // A request is over when its handler and its stream are, in either order. The promise of a written response is no sign
  // of it: Bun's response emits no `end`, so that it stays pending.
  void Promise.allSettled([reply, closed.promise]).then(() => {
    session.running -= 1;
  });
  reply
    .then((whole) => universalResponseToNodeResponse(watched(whole, entry, request.method === "HEAD"), response))
    .catch((error: unknown) => {
      // Most often the caller has gone while it was being answered; the access log has the call's own end.
      log.debug({ err: error }, "an HTTP/2 response was not delivered");
      stream.destroy();
    });
}

/** The guard has counted the peer's own resets; whatever is above them we had to make, and it counts like them. */
function mayReset(session: Session): boolean {
  session.resets += 1;
  if (session.resets <= session.guard.resets) return true;
  return session.ownResets.take(performance.now()) && session.budgets.reset();
}

async function handled(handler: Handler, request: Http2ServerRequest, address: string): Promise<HttpResponse> {
  const read = httpRequest(request, address);
  return read === undefined ? plainResponse(400, "The request is not HTTP/2.") : await handler(read);
}

/** The engine has checked that the fields are those of a request; the path is text that anybody may have written. */
function httpRequest(request: Http2ServerRequest, address: string): HttpRequest | undefined {
  const { method, url } = request;
  if (typeof method !== "string" || typeof url !== "string") return undefined;
  const target = url === asterisk && method === "OPTIONS" ? asterisk : originForm(url);
  const header = webHeader(request);
  if (target === undefined || header === undefined) return undefined;
  const gone = new AbortController();
  request.stream.once("close", () => gone.abort());
  return {
    version: "2.0",
    method,
    target,
    header,
    body: bodyOf(request),
    wholeBody: undefined,
    signal: gone.signal,
    address,
  };
}

function webHeader(request: Http2ServerRequest): Headers | undefined {
  const header = new Headers();
  try {
    for (const [name, value] of Object.entries(request.headers)) {
      if (name.startsWith(":") || value === undefined) continue;
      for (const item of Array.isArray(value) ? value : [value]) header.append(name, item);
    }
    return header;
  } catch {
    return undefined;
  }
}

async function* bodyOf(request: Http2ServerRequest): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of request) yield chunk as Uint8Array;
  } catch {
    throw new BodyBroken();
  }
}

/** Notes since when a response waits for its peer, and leaves the body out where HEAD asks for none. */
function watched(response: HttpResponse, entry: Stream, isHead: boolean) {
  const { status, header, trailer, body } = response;
  const given = body instanceof Uint8Array ? [body] : body;
  return { status, header, trailer, body: given === undefined || isHead ? undefined : watchedBody(given, entry) };
}

async function* watchedBody(
  body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  entry: Stream,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    entry.blockedSinceMs = performance.now();
    yield chunk;
    entry.blockedSinceMs = undefined;
  }
  // The last bytes and the trailers are out when the stream closes.
  entry.blockedSinceMs = performance.now();
}
