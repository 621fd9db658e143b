import { connect, ErrorCode, type NatsConnection, NatsError } from "nats";

export interface QueueOptions {
  /** One or several, separated by commas. */
  url: string;
  /** Shown in the server's list of connections. */
  name: string;
}

/** An attempt takes milliseconds; one that was cut in its handshake may never say so (nats 2.29). */
const ATTEMPT_MS = 5_000;
const RETRY_MS = 200;
/** What no further attempt will mend. */
const FINAL: readonly string[] = [
  ErrorCode.AuthorizationViolation,
  ErrorCode.AuthenticationExpired,
  ErrorCode.AuthenticationTimeout,
  ErrorCode.BadAuthentication,
  ErrorCode.InvalidOption,
  ErrorCode.ServerOptionNotAvailable,
];

/**
 * Connects, and stays: a server that is away is tried again for ever, because nothing is lost meanwhile. Resolves when
 * the first connection stands.
 */
export async function connectQueue(options: QueueOptions): Promise<NatsConnection> {
  for (;;) {
    const attempt = connectOnce(options);
    const late = Bun.sleep(ATTEMPT_MS).then(() => undefined);
    try {
      const connection = await Promise.race([attempt, late]);
      if (connection) return connection;
      // Should it stand after all, nobody has it.
      void attempt.then((orphan) => orphan.close()).catch(() => {});
    } catch (error) {
      if (!mayMend(error)) throw error;
    }
    await Bun.sleep(RETRY_MS);
  }
}

/** Refusals, timeouts and names that do not resolve have a code; what is wrong with the options may have none. */
function mayMend(error: unknown): boolean {
  if (error instanceof NatsError) return !FINAL.includes(error.code);
  return typeof (error as { code?: unknown } | null)?.code === "string";
}

function connectOnce({ url, name }: QueueOptions): Promise<NatsConnection> {
  return connect({
    servers: url.split(",").map((one) => one.trim()),
    name,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 200,
    reconnectJitter: 100,
    // A half-open connection is noticed within 2 × this.
    pingInterval: 5_000,
    maxPingOut: 2,
  });
}
