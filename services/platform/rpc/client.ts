import type { Interceptor, Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import type { WatchedTls } from "#services/platform/certificates.ts";
import { clientAuthInterceptor } from "./auth.ts";
import { currentRequestId, requestIdHeader } from "./context.ts";

export interface RpcTransportOptions {
  /** Where the service listens, such as `http://localhost:7001`. */
  baseUrl: string;
  /** Secret of the caller's service token. */
  token: string;
  /** For a `baseUrl` with https: whom to trust, and what to show. Default: the system's authorities, and nothing. */
  tls?: WatchedTls | undefined;
  /** Deadline of a unary call that names none, in milliseconds. Default 15,000. Streams have none. */
  timeoutMs?: number;
}

const forwardRequestId: Interceptor = (next) => (request) => {
  const requestId = currentRequestId();
  if (requestId !== undefined && !request.header.has(requestIdHeader)) request.header.set(requestIdHeader, requestId);
  return next(request);
};

/** Asks for what is in use each time: certificates that were renewed are used without a restart. */
function fetchWith(tls: WatchedTls): typeof fetch {
  const call = (input: string | URL | Request, init?: RequestInit) => fetch(input, { ...init, tls: tls.current });
  return Object.assign(call, { preconnect: fetch.preconnect });
}

/**
 * Transport for `createClient`: Connect with binary messages over HTTP/1.1 and Bun's fetch, which is the fastest pair
 * that was measured. It never retries. Ask `reasonFromError` what a failed call means.
 */
export function createRpcTransport({ baseUrl, token, tls, timeoutMs = 15_000 }: RpcTransportOptions): Transport {
  const transport = createConnectTransport({
    baseUrl,
    useBinaryFormat: true,
    ...(tls === undefined ? {} : { fetch: fetchWith(tls) }),
    interceptors: [forwardRequestId, clientAuthInterceptor(token)],
  });
  return {
    unary: (method, signal, callTimeoutMs, ...rest) =>
      transport.unary(method, signal, callTimeoutMs ?? timeoutMs, ...rest),
    stream: (...call) => transport.stream(...call),
  };
}
