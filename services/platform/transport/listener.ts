/**
 * Every port of ours: takes connections, looks which protocol each speaks, and sees to it that none is kept for nothing.
 *
 * HTTP/1 is read by code of our own. It has to share its port with HTTP/2 (gRPC), and `Bun.serve` takes over no accepted
 * connection: behind it each byte went through a second connection inside the process, at twice the cost of this. Nor can
 * `Bun.serve` bound connections by address or the time that headers take; `node:http` can, at three times the cost.
 */
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { listenError } from "../address.ts";
import type { WatchedTls } from "../certificates.ts";
import { addressBucket } from "../client-address.ts";
import type { Logger } from "../log.ts";
import { createAddressBudgets } from "./address-budgets.ts";
import { createConnectionGate, type GatedConnection } from "./connection-gate.ts";
import type { Handler } from "./exchange.ts";
import { Http1Connection } from "./http1-connection.ts";
import { createHttp2Engine, type Http2Connection } from "./http2-connection.ts";
import { createHttp2Door } from "./http2-door.ts";
import { defaultLimits, type TransportLimits } from "./limits.ts";
import { createHandshakeLog, protocolsOf, refusalOf, tlsOptions } from "./tls-port.ts";

export interface ListenerOptions {
  host: string;
  port: number;
  handler: Handler;
  log: Logger;
  /** Certificates; the port then speaks TLS alone. Default: cleartext. */
  tls?: WatchedTls | undefined;
  /** Also speak HTTP/2 with prior knowledge. Default: HTTP/1 only. */
  http2?: boolean;
  /** What differs from the default limits. */
  limits?: Partial<TransportLimits> | undefined;
}

export interface Listener {
  /** The port that was bound. */
  readonly port: number;
  /** Connections that are open now. */
  readonly connections: number;
  /** Stops accepting connections; those that are open take no further request. */
  close(): void;
  /** Waits until every connection has ended, `timeoutMs` at most. */
  finish(timeoutMs: number): Promise<void>;
  /** Cuts whatever is still connected. */
  destroy(): void;
}

/** The bytes that an HTTP/2 connection with prior knowledge begins with; no HTTP/1.1 method does. */
const http2Preface = Buffer.from("PRI");
const checksPerSecond = 1;

interface Connection extends GatedConnection {
  stop(): void;
  check(nowMs: number): void;
}

/**
 * Opens the port.
 *
 * @throws Error with one sentence when the port is taken.
 */
export async function openListener(options: ListenerOptions): Promise<Listener> {
  const limits = { ...defaultLimits, ...options.limits };
  const connections = new Set<Connection>();
  const door = createDoor({ ...options, limits }, connections);
  const server = options.tls === undefined ? openDoor(door) : openTlsDoor(door, options.tls, options);
  await listen(server, options.host, options.port);
  const { port } = server.address() as AddressInfo;
  const checking = setInterval(() => checkAll(connections), checkIntervalMs(limits));
  let stopped = false;
  const close = () => {
    if (stopped) return;
    stopped = true;
    server.close();
    for (const connection of connections) connection.stop();
  };
  const destroy = () => {
    close();
    clearInterval(checking);
    for (const connection of connections) connection.destroy();
  };
  return {
    port,
    get connections() {
      return connections.size;
    },
    close,
    finish: async (timeoutMs) => {
      const deadlineMs = performance.now() + timeoutMs;
      while (connections.size > 0 && performance.now() < deadlineMs) await Bun.sleep(finishPollMs);
    },
    destroy,
  };
}

const finishPollMs = 10;

/** Often enough for the shortest limit, which tests make short. */
function checkIntervalMs({ headerTimeoutMs, stallTimeoutMs, idleTimeoutMs }: TransportLimits): number {
  return Math.min(1_000 / checksPerSecond, headerTimeoutMs / 4, stallTimeoutMs / 4, idleTimeoutMs / 4);
}

function checkAll(connections: ReadonlySet<Connection>): void {
  const nowMs = performance.now();
  for (const connection of connections) connection.check(nowMs);
}

function listen(server: Server, host: string, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", (error) => reject(listenError(error, { host, port })));
  server.listen({ host, port }, resolve);
  return promise;
}

type DoorOptions = ListenerOptions & { limits: TransportLimits };

/** What is done with an accepted socket, plain or of TLS. */
interface Door {
  /** Counts it from its first moment. @returns its place; undefined where there is no room, and it is gone. */
  admit(socket: Socket): Slot | undefined;
  /** From here on only its bytes matter. `refuse` answers in the handler's place. */
  serve(socket: Socket, slot: Slot, refuse?: Handler): void;
}

function openDoor(door: Door): Server {
  return createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const slot = door.admit(socket);
    if (slot !== undefined) door.serve(socket, slot);
  });
}

/**
 * Who shows no certificate that counts, where one is asked for, gets that as the answer to each request: TLS' own refusal
 * reaches most clients as a connection that was reset, which sounds like a fault of the network.
 */
function openTlsDoor(door: Door, tls: WatchedTls, { http2, log }: ListenerOptions): Server {
  const slots = new WeakMap<Socket, Slot>();
  const server = createTlsServer({
    ...tlsOptions(tls.current),
    ALPNProtocols: protocolsOf(http2),
    allowHalfOpen: true,
  });
  server.on("connection", (socket) => {
    const slot = door.admit(socket);
    if (slot !== undefined) slots.set(socket, slot);
  });
  server.on("secureConnection", (socket) => {
    const slot = slots.get(socket);
    if (slot === undefined) socket.destroy();
    else {
      socket.setNoDelay(true);
      door.serve(socket, slot, refusalOf(socket, tls.current));
    }
  });
  server.on("tlsClientError", createHandshakeLog(log));
  tls.onChange((material) => server.setSecureContext(tlsOptions(material)));
  return server;
}

function createDoor(options: DoorOptions, connections: Set<Connection>): Door {
  const { handler, limits, log } = options;
  const gate = createConnectionGate(limits);
  const { streamsPerSecond } = limits;
  const door = createHttp2Door(limits);
  const streams = createAddressBudgets(streamsPerSecond, streamsPerSecond);
  const http2 = options.http2 === true ? createHttp2Engine({ limits, log }) : undefined;

  return {
    admit: (socket) => {
      const address = socket.remoteAddress;
      // What a peer does to its connection is the connection's end, and nothing else's.
      socket.on("error", () => socket.destroy());
      const slot = createSlot(socket, limits);
      const leave = address === undefined ? undefined : gate.admit(slot, address);
      if (leave === undefined) {
        socket.destroy();
        return undefined;
      }
      connections.add(slot);
      socket.once("close", () => {
        connections.delete(slot);
        leave();
      });
      return slot;
    },
    serve: (socket, slot, refuse) => {
      const address = socket.remoteAddress ?? "";
      const own = refuse ?? handler;
      const serveHttp1 = () => slot.became(new Http1Connection(socket, { handler: own, limits, log, address }));
      if (http2 === undefined) serveHttp1();
      else {
        const bucket = addressBucket(address);
        const budgets = { reset: () => door.countReset(bucket), stream: () => streams(bucket) };
        const serveHttp2 = (first: Buffer) => {
          door.pass(socket, bucket, () => {
            slot.became(http2.serve(socket, first, { address, handler: own, budgets }));
          });
        };
        look(socket, serveHttp1, serveHttp2);
      }
    },
  };
}

interface Slot extends Connection {
  became(connection: Http1Connection | Http2Connection): void;
}

/** A connection's place from its first moment, also while nobody knows what it speaks. */
function createSlot(socket: Socket, limits: TransportLimits): Slot {
  const sinceMs = performance.now();
  let served: Http1Connection | Http2Connection | undefined;
  return {
    became: (connection) => {
      served = connection;
    },
    get awaitsPeer() {
      return served?.awaitsPeer ?? true;
    },
    stop: () => {
      if (served === undefined) socket.destroy();
      else served.stop();
    },
    destroy: () => {
      if (served === undefined) socket.destroy();
      else served.destroy();
    },
    check: (nowMs) => {
      if (served !== undefined) served.check(nowMs);
      else if (nowMs - sinceMs > limits.headerTimeoutMs) socket.destroy();
    },
  };
}

/** Waits for as many bytes as it takes to tell the two protocols apart. */
function look(socket: Socket, serveHttp1: () => void, serveHttp2: (first: Buffer) => void): void {
  let seen: Buffer = Buffer.alloc(0);
  const ended = () => socket.destroy();
  socket.once("end", ended);
  socket.on("data", see);
  function see(chunk: Buffer): void {
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    const compared = seen.subarray(0, http2Preface.length);
    const matches = compared.equals(http2Preface.subarray(0, compared.length));
    if (matches && compared.length < http2Preface.length) return;
    socket.off("data", see);
    socket.off("end", ended);
    if (matches) serveHttp2(seen);
    else {
      serveHttp1();
      socket.unshift(seen);
    }
  }
}
