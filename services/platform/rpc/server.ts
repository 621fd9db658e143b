import type { DescService } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, createConnectRouter, type Interceptor } from "@connectrpc/connect";
import { compressionGzip } from "@connectrpc/connect-node";
import { createValidateInterceptor } from "@connectrpc/validate";
import { Health } from "#gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "#gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as AlphaServerReflection } from "#gen/grpc/reflection/v1alpha/reflection_pb.ts";
import type { WatchedTls } from "#services/platform/certificates.ts";
import type { Logger } from "#services/platform/log.ts";
import type { Metrics } from "#services/platform/metrics.ts";
import { createReadiness, type Readiness } from "#services/platform/readiness.ts";
import type { TransportLimits } from "#services/platform/transport/limits.ts";
import { type Listener, openListener } from "#services/platform/transport/listener.ts";
import type { RpcCaller, RpcToken } from "#services/platform/variables.ts";
import { createAccessLog } from "./access-log.ts";
import { createAuthGate, type RequestGate } from "./auth.ts";
import { type CallObserver, callerOf, callInterceptor } from "./call.ts";
import { currentScope } from "./context.ts";
import { signalInterceptor } from "./deadline.ts";
import { createDispatch } from "./dispatch.ts";
import { domainErrorInterceptor, reasonFromError, rpcName } from "./errors.ts";
import { createHealth } from "./health.ts";
import { createInFlight } from "./in-flight.ts";
import { createTokenGuard, defaultRpcLoad, loadInterceptor, type RpcLoad } from "./load.ts";
import { registerReflection } from "./reflection.ts";
import { refuseBrokenQuery, unreadableInterceptor } from "./unreadable.ts";

export interface RpcServerOptions {
  /** Name of the process, for messages. */
  service: string;
  /** Default 127.0.0.1. */
  host?: string;
  /** 0 binds a free port. */
  port: number;
  /** Certificates of the port; undefined for cleartext. */
  tls?: WatchedTls | undefined;
  /** Registers the implementations. */
  routes: (router: ConnectRouter) => void;
  /** What reflection lists and health knows; health and reflection themselves are added. */
  services: readonly DescService[];
  /** Whom it lets in. */
  tokens: readonly (RpcCaller | RpcToken)[];
  log: Logger;
  /** Is told how calls end. */
  observer?: CallObserver;
  /** Run after the caller is known and before its message is validated. */
  interceptors?: Interceptor[];
  /** With it, calls are measured. */
  metrics?: Metrics;
  /** Whether the process can do its work; a rejection counts as no. Default: always. */
  readyCheck?: () => Promise<boolean>;
  /** Largest message in either direction, in bytes. Default 4 MiB. */
  maxMessageBytes?: number;
  /** Deadline of a unary call that asks for none or for a later one, in milliseconds. Default 60,000. */
  maxTimeoutMs?: number;
  /** How long `stop` waits for unary calls in flight before it cuts them, in milliseconds. Default 10,000. */
  drainTimeoutMs?: number;
  /** What one caller may take. Default: as the environment's defaults. */
  load?: RpcLoad;
  /** RPCs, as `package.Service/Method`, that take turns of their own and none of their account's share. */
  ownTurns?: ReadonlySet<string>;
  /** What one peer may take; what differs from the default. */
  limits?: Partial<TransportLimits>;
}

export interface RpcServer {
  /** Opens the port. Rejects with one sentence when it is taken. */
  start(): Promise<void>;
  /** As `start`, for `openPorts`. */
  open(): Promise<{ readonly port: number; stop(): Promise<void> }>;
  /** Whether it takes calls and the process can do its work. */
  isReady(): Promise<boolean>;
  /**
   * Soft: no new calls, streams end with UNAVAILABLE, unary calls finish. Hard after `drainTimeoutMs`: what is left is
   * cut. Safe twice and before `start`.
   */
  stop(): Promise<void>;
  /** The bound port; 0 before `start`. */
  readonly port: number;
}

const mebibyte = 1024 * 1024;
/** Between services on one network, compressing a small reply costs more than it saves. */
const compressMinBytes = 16 * 1024;
/** Health and reflection answer without a token, and their questions are a name long. */
const openMessageBytes = 4 * 1024;
/** After the hard signal, time for handlers to notice and for peers to read the last frames. */
const lastWordsMs = 1_000;

/** A server whose one port speaks Connect, gRPC-Web and gRPC, over HTTP/1.1 and cleartext HTTP/2, with health and reflection. */
export function createRpcServer(options: RpcServerOptions): RpcServer {
  const { log, drainTimeoutMs = 10_000 } = options;
  const softStop = new AbortController();
  const hardStop = new AbortController();
  const inFlight = createInFlight();
  const readiness = createReadiness({ check: options.readyCheck ?? (async () => true), log });
  const isReady = async () => !softStop.signal.aborted && (await readiness.isReady());
  const dispatch = createDispatch({
    router: createRouter(options, { ...readiness, isReady }, hardStop.signal),
    inFlight,
    isReady,
    maxTimeoutMs: options.maxTimeoutMs ?? 60_000,
    guardToken: createTokenGuard(options.load ?? defaultRpcLoad),
    stopping: softStop.signal,
  });
  let opening: Promise<Listener> | undefined;
  let listener: Listener | undefined;
  let stopping: Promise<void> | undefined;

  async function stop(): Promise<void> {
    softStop.abort(stoppingError());
    await opening?.catch(() => undefined);
    if (listener === undefined) return;
    listener.close();
    if (!(await inFlight.idle(drainTimeoutMs))) {
      log.warn({ drainTimeoutMs }, "calls were still running at the drain deadline and are cut");
      hardStop.abort(stoppingError());
      await inFlight.idle(lastWordsMs);
    }
    await listener.finish(lastWordsMs);
    listener.destroy();
  }

  const server: RpcServer = {
    start: async () => {
      if (softStop.signal.aborted) throw new Error(`The ${options.service} server was stopped and cannot start again.`);
      opening ??= openListener({
        host: options.host ?? "127.0.0.1",
        port: options.port,
        tls: options.tls,
        handler: dispatch,
        log,
        http2: true,
        limits: options.limits,
      });
      listener = await opening;
    },
    stop: () => {
      stopping ??= stop();
      return stopping;
    },
    get port() {
      return listener?.port ?? 0;
    },
    open: async () => {
      await server.start();
      return server;
    },
    isReady,
  };
  return server;
}

function stoppingError(): ConnectError {
  return new ConnectError("The server is stopping; try again.", Code.Unavailable);
}

function createRouter(options: RpcServerOptions, readiness: Readiness, shutdownSignal: AbortSignal): ConnectRouter {
  const { log, maxMessageBytes = 4 * mebibyte } = options;
  const accessLog = createAccessLog(log, options.metrics);
  const authenticate = observedGate(createAuthGate(options.tokens), options.observer);
  const router = createConnectRouter({
    acceptCompression: [compressionGzip],
    compressMinBytes,
    readMaxBytes: maxMessageBytes,
    writeMaxBytes: maxMessageBytes,
    // A field that nobody knows may have been meant to narrow what is chosen: `campaigns` for `campaignIds` would be all.
    jsonOptions: { ignoreUnknownFields: false },
    shutdownSignal,
    requestGate: (context) => {
      accessLog.watch(context);
      authenticate(context);
      refuseBrokenQuery(context);
    },
    interceptors: [
      accessLog.interceptor,
      domainErrorInterceptor(log),
      unreadableInterceptor,
      callInterceptor(options.observer),
      signalInterceptor,
      loadInterceptor(options.load ?? defaultRpcLoad, options.ownTurns ?? new Set()),
      ...(options.interceptors ?? []),
      createValidateInterceptor(),
    ],
  });
  options.routes(router);
  router.service(Health, createHealth(options.services, readiness), { readMaxBytes: openMessageBytes });
  registerReflection(router, [...options.services, Health, ServerReflection, AlphaServerReflection], {
    readMaxBytes: openMessageBytes,
  });
  return router;
}

/** Calls that are refused before their message is read. */
function observedGate(gate: RequestGate, observer: CallObserver | undefined): RequestGate {
  return (context) => {
    try {
      gate(context);
    } catch (error) {
      const caller = callerOf(currentScope());
      observer?.refused({ rpc: rpcName(context.method), message: {}, caller, reason: reasonFromError(error).reason });
      throw error;
    }
  };
}
