import { AsyncLocalStorage } from "node:async_hooks";
import { createHash, randomUUID } from "node:crypto";
import { isIP } from "node:net";
import { type ContextKey, createContextKey } from "@connectrpc/connect";
import { normalAddress } from "#services/platform/client-address.ts";
import type { ServedCall } from "./call.ts";

/** Header that carries the request id in both directions. */
export const requestIdHeader = "x-request-id";
/** Headers in which the gateway says for whom it calls; believed with its own token only. */
export const clientAddressHeader = "x-client-address";
export const clientSessionHeader = "x-client-session";
/** Name of the service token that the gateway calls with. */
export const gatewayTokenName = "gateway";

/** On whose behalf a call is made. */
export interface Caller {
  /** Name of the service token. */
  readonly token: string;
  /** The customer's address where the gateway calls, the peer's otherwise; empty where it is not known. */
  readonly address: string;
  /** `sessionIdFrom` of the customer's session; empty where the caller is not the gateway. */
  readonly session: string;
}

/** What is known of the request that is being served; its caller is found out after it has begun. */
export interface RequestScope {
  readonly requestId: string;
  /** Address of the other end of the connection; empty where it is not known. */
  readonly peer: string;
  caller?: Caller;
  /** The service token was missing or unknown. */
  tokenRefused?: boolean;
  /** Once its message is read; see `currentCall`. */
  call?: ServedCall;
}

const scopes = new AsyncLocalStorage<RequestScope>();

/** What a caller may choose as a request id: anything else is replaced, so that it cannot forge or flood log lines. */
const acceptedRequestId = /^[\w.:-]{1,128}$/;

/** The id that came with a request, or a new one. */
export function requestIdFrom(header: string | null | undefined): string {
  return header != null && acceptedRequestId.test(header) ? header : randomUUID();
}

/** Runs `work` as part of the given request: log lines and outgoing calls made inside it carry the id. */
export function withRequestId<T>(requestId: string, work: () => T): T {
  return withScope({ requestId, peer: "" }, work);
}

/** As `withRequestId`, with all that is known of the request. */
export function withScope<T>(scope: RequestScope, work: () => T): T {
  return scopes.run(scope, work);
}

/** The request that is being served, if one is. */
export function currentScope(): RequestScope | undefined {
  return scopes.getStore();
}

/** The id of the request that is being served, if one is. */
export function currentRequestId(): string | undefined {
  return currentScope()?.requestId;
}

/** On whose behalf the request that is being served was made; undefined before its token was checked, and outside of one. */
export function currentCaller(): Caller | undefined {
  return currentScope()?.caller;
}

/** Notes whose call is being served, once its token is known. Only the gateway's word on its client is believed. */
export function noteCaller(token: string, header: Headers): void {
  const scope = currentScope();
  if (scope === undefined) return;
  const client =
    token === gatewayTokenName ? clientFrom(header) : { address: normalAddress(scope.peer) ?? "", session: "" };
  scope.caller = { token, ...client };
}

/** Even the gateway's word is looked at: it ends in tables and logs. */
function clientFrom(header: Headers): Omit<Caller, "token"> {
  const address = header.get(clientAddressHeader) ?? "";
  const session = header.get(clientSessionHeader) ?? "";
  return { address: isIP(address) === 0 ? "" : address, session: /^[0-9a-f]{16}$/.test(session) ? session : "" };
}

/**
 * A name for a session that opens nothing: the first 8 bytes of its token's SHA-256, in hex. The account service has the
 * whole hash in its table, so it can tell which session is meant.
 */
export function sessionIdFrom(token: string): string {
  return createHash("sha256").update(token).digest("hex").slice(0, 16);
}

/** Name of the service token that the call came with; empty where none is needed (health, reflection). */
export const callerKey: ContextKey<string> = createContextKey("", { description: "name of the caller's token" });
