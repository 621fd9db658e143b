import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";

/** Milliseconds in each unit of the `grpc-timeout` header. */
const grpcUnits: Record<string, number> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 0.001, n: 0.000_001 };

/**
 * Gives a unary call the deadline `capMs` when it has none or a later one. Streams keep what they ask for: a watcher
 * stays for as long as it likes. A malformed timeout is left for the runtime to refuse.
 */
export function capDeadline(header: Headers, capMs: number): void {
  const isGrpc = header.get("content-type")?.startsWith("application/grpc") ?? false;
  if (isGrpc) {
    if (exceeds(grpcTimeoutMs(header.get("grpc-timeout")), capMs)) header.set("grpc-timeout", `${capMs}m`);
  } else if (exceeds(connectTimeoutMs(header.get("connect-timeout-ms")), capMs)) {
    header.set("connect-timeout-ms", String(capMs));
  }
}

/** `undefined` means that there is no timeout, NaN that it is malformed; NaN exceeds nothing. */
function exceeds(timeoutMs: number | undefined, capMs: number): boolean {
  return timeoutMs === undefined || timeoutMs > capMs;
}

function connectTimeoutMs(text: string | null): number | undefined {
  if (text === null) return undefined;
  return /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
}

function grpcTimeoutMs(text: string | null): number | undefined {
  if (text === null) return undefined;
  const match = /^(\d{1,8})([HMSmun])$/.exec(text);
  return match === null ? Number.NaN : Number(match[1]) * grpcUnits[match[2]!]!;
}

/**
 * Ends a call when its signal aborts (deadline, caller gone, server stopping), also when the handler does not look at
 * the signal: the runtime itself only passes it on and would wait.
 */
export const signalInterceptor: Interceptor = (next) => async (request) => {
  const { signal } = request;
  const response = await untilAborted(signal, () => next(request));
  if (!response.stream) return response;
  return { ...response, message: messagesUntilAborted(signal, response.message) };
};

async function* messagesUntilAborted<T>(signal: AbortSignal, messages: AsyncIterable<T>): AsyncGenerator<T> {
  const iterator = messages[Symbol.asyncIterator]();
  try {
    for (;;) {
      const result = await untilAborted(signal, () => iterator.next());
      if (result.done === true) return;
      yield result.value;
    }
  } finally {
    // Not awaited: a generator that is stuck in a wait answers `return` only when that wait ends.
    void iterator.return?.().catch(() => undefined);
  }
}

async function untilAborted<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  if (signal.aborted) throw abortError(signal);
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(abortError(signal));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work(), promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function abortError(signal: AbortSignal): ConnectError {
  const reason: unknown = signal.reason;
  return reason instanceof ConnectError ? reason : new ConnectError("the caller cancelled the call", Code.Canceled);
}
