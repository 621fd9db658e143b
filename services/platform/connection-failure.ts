import { isTlsFailure } from "./tls-failure.ts";

/** Codes of postgres.js, NATS, Bun's fetch and the system that mean: the other side was not reached, or went away. */
const connectionCodes = new Set([
  "CONNECTION_CLOSED",
  "CONNECTION_ENDED",
  "CONNECTION_DESTROYED",
  "CONNECTION_REFUSED",
  "CONNECTION_TIMEOUT",
  "CONNECTION_DRAINING",
  "CONNECT_TIMEOUT",
  "DISCONNECT",
  "STALE CONNECTION",
  // NATS' answers for "nobody serves this subject" (JetStream is away) and for a request without an answer.
  "503",
  "TIMEOUT",
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "ETIMEDOUT",
  "EPIPE",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ConnectionRefused",
  "ConnectionClosed",
  "FailedToOpenSocket",
]);

/**
 * SQLSTATEs with the same meaning: 08xxx connection exceptions, 57P01/57P02 the server is being shut down or crashed,
 * 57P03 it cannot take connections yet, 53300 it has too many, 25P03 it has ended a session that was silent in a transaction.
 */
const connectionSqlState = /^(08...|57P0[123]|53300|25P03)$/;

/** Causes deeper than this are not looked at, so that a cycle ends. */
const maxCauses = 6;

/**
 * Whether an error, or what caused it, is a lost or refused connection to something that the process depends on. One that TLS
 * refuses is as good as none.
 */
export function isConnectionFailure(error: unknown): boolean {
  let current: unknown = error;
  for (let depth = 0; depth < maxCauses && current instanceof Error; depth++) {
    const { code } = current as { code?: unknown };
    if (typeof code === "string" && (connectionCodes.has(code) || connectionSqlState.test(code))) return true;
    if (isTlsFailure(current)) return true;
    current = current.cause;
  }
  return false;
}
