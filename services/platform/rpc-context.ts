import { AsyncLocalStorage } from "node:async_hooks";
import { randomUUID } from "node:crypto";
import { type ContextKey, createContextKey } from "@connectrpc/connect";

/** Header that carries the request id in both directions. */
export const requestIdHeader = "x-request-id";

const requestIds = new AsyncLocalStorage<string>();

/** What a caller may choose as a request id: anything else is replaced, so that it cannot forge or flood log lines. */
const acceptedRequestId = /^[\w.:-]{1,128}$/;

/** The id that came with a request, or a new one. */
export function requestIdFrom(header: string | null | undefined): string {
  return header != null && acceptedRequestId.test(header) ? header : randomUUID();
}

/** Runs `work` as part of the given request: log lines and outgoing calls made inside it carry the id. */
export function withRequestId<T>(requestId: string, work: () => T): T {
  return requestIds.run(requestId, work);
}

/** The id of the request that is being served, if one is. */
export function currentRequestId(): string | undefined {
  return requestIds.getStore();
}

/** Name of the service token that the call came with; empty where none is needed (health, reflection). */
export const callerKey: ContextKey<string> = createContextKey("", { description: "name of the caller's token" });
