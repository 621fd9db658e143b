import { createServer as createHttp2Server, type Http2Server, type ServerHttp2Session } from "node:http2";
import { type AddressInfo, connect, createServer as createTcpServer, type Server, type Socket } from "node:net";
import {
  readAllBytes,
  type UniversalServerRequest,
  type UniversalServerResponse,
  universalServerRequestFromFetch,
  universalServerResponseToFetch,
} from "@connectrpc/connect/protocol";
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from "@connectrpc/connect-node";
import type { Logger } from "./log.ts";
import type { Dispatch } from "./rpc-dispatch.ts";

export interface RpcListenerOptions {
  host: string;
  port: number;
  dispatch: Dispatch;
  log: Logger;
}

/** One port for HTTP/1.1 and cleartext HTTP/2. */
export interface RpcListener {
  /** The port that was bound. */
  readonly port: number;
  /** Stops accepting connections, and asks HTTP/2 peers to open no more streams. */
  close(): void;
  /** Lets every peer read what it was sent, then ends the connections; takes about `timeoutMs` at most. */
  finish(timeoutMs: number): Promise<void>;
  /** Cuts whatever is still connected. */
  destroy(): Promise<void>;
}

/** The bytes that an HTTP/2 connection with prior knowledge begins with; no HTTP/1.1 method does. */
const http2Preface = Buffer.from("PRI");
const loopback = "127.0.0.1";
/** A connection that says nothing for this long is closed. */
const firstBytesTimeoutMs = 30_000;
/** Bun's longest; a unary call ends within its deadline, streams are exempt. */
const idleTimeoutSeconds = 255;
const httpVersion = "1.1";
/** Types of calls that may stream; unary Connect calls have plain ones. */
const streamingType = /^application\/(connect\+|grpc)/;
/** A body that says it is no longer than this is read at once, which costs Bun a fraction of reading it as a stream. */
const wholeBodyBytes = 64 * 1024;

/**
 * Opens the port. `Bun.serve` is twice as fast as `node:http2` on HTTP/1.1 and sends no HTTP/2 trailers, which gRPC
 * needs: a TCP server looks at the first bytes of each connection and hands it to the one that understands it. Bun
 * cannot take over a connection, so it listens on a loopback port of its own; on a socket file `server.timeout` has no
 * effect (seen on 1.4.5), and quiet streams would be cut.
 *
 * @throws Error with one sentence when the port is taken.
 */
export async function openRpcListener(options: RpcListenerOptions): Promise<RpcListener> {
  const peers: Peers = new Map();
  const http1 = serveHttp1(peers, options);
  const sessions = new Set<ServerHttp2Session>();
  const http2 = serveHttp2(sessions, options);
  const sockets = new Set<Socket>();
  const tcp = createTcpServer((socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    route(socket, http2, { port: http1.port!, peers });
  });
  const destroy = async () => {
    tcp.close();
    for (const session of sessions) session.destroy();
    for (const socket of sockets) socket.destroy();
    await http1.stop(true);
  };
  try {
    await listen(tcp, options.host, options.port);
  } catch (error) {
    await destroy();
    throw error;
  }
  const { port } = tcp.address() as AddressInfo;
  return {
    port,
    close: () => {
      tcp.close();
      for (const session of sessions) session.close();
    },
    finish: async (timeoutMs) => {
      await settledWithin(timeoutMs, [http1.stop()]);
      // Bun has written everything by now. Once it ends its side, each joined connection ends after its last byte.
      await http1.stop(true);
      await settledWithin(timeoutMs, [...sockets].map(closed));
    },
    destroy,
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", (error: NodeJS.ErrnoException) => {
    const taken = error.code === "EADDRINUSE";
    reject(taken ? new Error(`Port ${port} on ${host} is taken by another process.`, { cause: error }) : error);
  });
  server.listen({ host, port }, resolve);
  return promise;
}

/** Who is at the other end of a connection that we join to Bun's, by the port that Bun sees. */
type Peers = Map<number, string>;

function route(socket: Socket, http2: Http2Server, http1: { port: number; peers: Peers }): void {
  let seen = Buffer.alloc(0);
  socket.on("error", () => socket.destroy());
  socket.setTimeout(firstBytesTimeoutMs, () => socket.destroy());
  socket.on("data", look);
  function look(chunk: Buffer): void {
    seen = Buffer.concat([seen, chunk]);
    const compared = seen.subarray(0, http2Preface.length);
    const matches = compared.equals(http2Preface.subarray(0, compared.length));
    if (matches && compared.length < http2Preface.length) return;
    socket.off("data", look);
    socket.setTimeout(0);
    socket.unshift(seen);
    if (matches) http2.emit("connection", socket);
    else joinSockets(socket, connect({ host: loopback, port: http1.port, noDelay: true }), http1.peers);
  }
}

/** Whatever ends one side ends the other, so that Bun sees at once that a caller has gone. */
function joinSockets(client: Socket, server: Socket, peers: Peers): void {
  client.setNoDelay(true);
  server.on("error", () => client.destroy());
  server.once("connect", () => {
    const port = server.localPort!;
    peers.set(port, client.remoteAddress ?? "");
    server.once("close", () => peers.delete(port));
  });
  client.once("close", () => server.destroy());
  server.once("close", () => client.destroySoon());
  client.pipe(server);
  server.pipe(client);
}

function serveHttp1(peers: Peers, { dispatch, log }: RpcListenerOptions) {
  return Bun.serve({
    hostname: loopback,
    port: 0,
    idleTimeout: idleTimeoutSeconds,
    // The runtime refuses a message above its limit by content-length before it reads it, with a proper error; Bun would
    // answer with an empty 413.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    fetch: async (request, server) => {
      const peer = peers.get(server.requestIP(request)?.port ?? 0) ?? "";
      if (!streamingType.test(request.headers.get("content-type") ?? "")) {
        return await wholeResponse(await dispatch(wholeRequest(request), peer));
      }
      // A quiet stream must not be cut.
      server.timeout(request, 0);
      const response = await dispatch(universalServerRequestFromFetch(request, { httpVersion }), peer);
      return universalServerResponseToFetch(response);
    },
    error: (error) => {
      log.error({ err: error }, "an HTTP/1.1 request failed");
      return new Response("Something went wrong on our side.\n", { status: 500 });
    },
  });
}

/** As the runtime's own conversion, but for a short body, which is read in one piece when it is asked for. */
function wholeRequest(request: Request): UniversalServerRequest {
  const length = request.headers.get("content-length");
  if (length === null || !(Number(length) <= wholeBodyBytes)) {
    return universalServerRequestFromFetch(request, { httpVersion });
  }
  const { method, url, headers: header, signal } = request;
  return { httpVersion, method, url, header, signal, body: readAtOnce(request) };
}

async function* readAtOnce(request: Request): AsyncGenerator<Uint8Array> {
  yield await request.bytes();
}

/** A response in one piece: Bun writes a streamed one in several, at twice the cost of the whole call. */
async function wholeResponse({ status, header, body }: UniversalServerResponse): Promise<Response> {
  const bytes = body && (await readAllBytes(body, Number.MAX_SAFE_INTEGER));
  return new Response(bytes, { status, headers: header });
}

function serveHttp2(sessions: Set<ServerHttp2Session>, { dispatch, log }: RpcListenerOptions): Http2Server {
  const server = createHttp2Server();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => session.destroy());
    session.once("close", () => sessions.delete(session));
  });
  server.on("request", (request, response) => {
    const peer = request.socket?.remoteAddress ?? "";
    dispatch(universalRequestFromNodeRequest(request, response, undefined, undefined), peer)
      .then((universal) => universalResponseToNodeResponse(universal, response))
      .catch((error: unknown) => {
        // Most often the caller has gone while it was being answered; the access log has the call's own end.
        log.debug({ err: error }, "an HTTP/2 response was not delivered");
        response.stream?.destroy();
      });
  });
  return server;
}

function closed(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.once("close", () => resolve());
  return promise;
}

async function settledWithin(timeoutMs: number, work: Promise<void>[]): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, timeoutMs);
  await Promise.race([Promise.all(work), late]);
  clearTimeout(timer);
}
