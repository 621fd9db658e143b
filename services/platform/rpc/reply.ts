import type { StreamResponse, UnaryResponse } from "@connectrpc/connect";

/** What an interceptor wants to know or change about how a call ends. */
interface ReplyHooks {
  /** Replaces an error that a stream ends with. */
  mapError?: (error: unknown) => unknown;
  /** Called once when the reply has ended: with the error, or nothing when all went well or the reader left. */
  onEnd?: (error?: unknown) => void;
}

/**
 * Applies hooks to the reply of a call. A unary reply has ended already; a stream ends when its last message was read,
 * when it throws, or when its reader leaves.
 */
export function mapReply<R extends UnaryResponse | StreamResponse>(response: R, hooks: ReplyHooks): R {
  if (!response.stream) {
    hooks.onEnd?.();
    return response;
  }
  return { ...response, message: hooked(response.message, hooks) };
}

async function* hooked<T>(messages: AsyncIterable<T>, { mapError, onEnd }: ReplyHooks): AsyncGenerator<T> {
  let failure: unknown;
  try {
    yield* messages;
  } catch (error) {
    failure = mapError?.(error) ?? error;
    throw failure;
  } finally {
    onEnd?.(failure);
  }
}
