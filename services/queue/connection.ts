import { connect, type NatsConnection } from "nats";

export interface QueueOptions {
  /** One or several, separated by commas. */
  url: string;
  /** Shown in the server's list of connections. */
  name: string;
}

/**
 * Connects, and stays: a server that is away is tried again for ever, because nothing is lost meanwhile. Resolves when
 * the first connection stands.
 */
export async function connectQueue(options: QueueOptions): Promise<NatsConnection> {
  return await connect({
    servers: options.url.split(",").map((url) => url.trim()),
    name: options.name,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 200,
    reconnectJitter: 100,
    waitOnFirstConnect: true,
    // A half-open connection is noticed within 2 × this.
    pingInterval: 5_000,
    maxPingOut: 2,
  });
}
