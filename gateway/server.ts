import type { Server } from "bun";
import type { Gateway } from "./app.ts";
import { notePeer } from "./peer.ts";

export interface ServerOptions {
  readonly gateway: Gateway;
  /** 0 lets the system pick one. */
  readonly port: number;
  /** Default: all addresses. */
  readonly host?: string;
}

export interface GatewayServer {
  readonly port: number;
  /** Takes no more requests, and resolves when those that are being served have their replies. Safe twice. */
  stop(): Promise<void>;
}

/** Longer than any RPC may take, so that the connection of a slow call is not cut as an idle one. Bun's maximum is 255. */
const idleTimeoutSeconds = 60;

/**
 * Serves the gateway over HTTP. Bun answers a body above its own limit with an empty 413, before any code of ours runs;
 * that limit is set out of reach, and body.ts never takes in more than a call may have.
 *
 * @throws Error with a sentence for people where the port is taken.
 */
export function serveGateway({ gateway, port, host = "0.0.0.0" }: ServerOptions): GatewayServer {
  const server = listen({ gateway, port, host });
  return { port: server.port ?? port, stop: () => server.stop() };
}

function listen({ gateway, port, host }: Required<ServerOptions>): Server<undefined> {
  try {
    return Bun.serve({
      port,
      hostname: host,
      idleTimeout: idleTimeoutSeconds,
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      fetch: (request, self) => {
        notePeer(request, self.requestIP(request)?.address ?? "");
        return gateway.handle(request);
      },
    });
  } catch (error) {
    const taken = error instanceof Error && "code" in error && error.code === "EADDRINUSE";
    throw taken ? new Error(`Port ${port} on ${host} is taken by another process.`, { cause: error }) : error;
  }
}
