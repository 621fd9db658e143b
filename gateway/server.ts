import type { WatchedTls } from "#services/platform/certificates.ts";
import type { Logger } from "#services/platform/log.ts";
import { fetchHandler } from "#services/platform/transport/fetch-handler.ts";
import type { TransportLimits } from "#services/platform/transport/limits.ts";
import { openListener } from "#services/platform/transport/listener.ts";
import type { Gateway } from "./app.ts";

export interface ServerOptions {
  readonly gateway: Gateway;
  /** 0 lets the system pick one. */
  readonly port: number;
  readonly log: Logger;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Certificates of the port; undefined for cleartext. */
  readonly tls?: WatchedTls | undefined;
  /** What differs from the default limits. */
  readonly limits?: Partial<TransportLimits>;
}

export interface GatewayServer {
  readonly port: number;
  /** Takes no more requests, and resolves when those that are being served have their replies. Safe twice. */
  stop(): Promise<void>;
}

/** Longer than any call may take. */
const lastRepliesMs = 60_000;

/**
 * Serves the gateway over HTTP/1. Bodies have no limit here: body.ts never takes in more than a call may have.
 *
 * @throws Error with a sentence for people where the port is taken.
 */
export async function serveGateway(options: ServerOptions): Promise<GatewayServer> {
  const { gateway, host = "127.0.0.1", port, tls, log, limits } = options;
  const handler = fetchHandler((request) => gateway.handle(request));
  const listener = await openListener({ host, port, tls, log, limits, handler, http2: tls !== undefined });
  return {
    port: listener.port,
    stop: async () => {
      listener.close();
      await listener.finish(lastRepliesMs);
      listener.destroy();
    },
  };
}
