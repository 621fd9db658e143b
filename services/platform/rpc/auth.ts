import { timingSafeEqual } from "node:crypto";
import type { DescMethod, DescService } from "@bufbuild/protobuf";
import type { HandlerContext, Interceptor } from "@connectrpc/connect";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";
import { hashOfSecret, type RpcCaller, type RpcToken } from "#services/platform/variables.ts";
import { callerKey, currentScope, noteCaller } from "./context.ts";
import { connectErrorFromDomain, rpcName } from "./errors.ts";

/** Tools and load balancers ask these before they have a token; neither tells anything about a customer. */
const openPackages = ["grpc.health.", "grpc.reflection."];

/** Whether a service answers without a token. Such a service only tells, so none of its calls changes anything. */
export function isOpenService({ typeName }: DescService): boolean {
  return openPackages.some((prefix) => typeName.startsWith(prefix));
}

/** Connect's hook that runs when a call's headers are there and its body is not read yet. */
export type RequestGate = (context: HandlerContext) => void;

/**
 * Checks the service token of a call and notes the caller: its name in the call's context values (`callerKey`), and on
 * whose behalf it calls in the request's scope (`currentCaller`).
 *
 * It is a gate and not an interceptor: interceptors run after a unary call's whole message was received and parsed, and
 * a caller without a token must not make us hold 52 MiB.
 *
 * Throws a ConnectError with the reason UNAUTHENTICATED when the token is missing or unknown, FORBIDDEN when it may not
 * call this RPC.
 */
export function createAuthGate(callers: readonly (RpcCaller | RpcToken)[]): RequestGate {
  const known = callers.map(knownCaller);
  return (context) => {
    if (isOpenService(context.service)) return;
    const token = findToken(known, context.requestHeader.get("authorization"));
    if (token === undefined) throw unknownToken();
    noteCaller(token.name, context.requestHeader);
    const rpc = rpcName(context.method);
    if (!isAllowed(token, context.method)) {
      throw refusal(ErrorReason.FORBIDDEN, `The service token ${token.name} may not call ${rpc}.`);
    }
    context.values.set(callerKey, token.name);
  };
}

function unknownToken(): Error {
  const scope = currentScope();
  if (scope !== undefined) scope.tokenRefused = true;
  return refusal(ErrorReason.UNAUTHENTICATED, "The service token is missing or unknown.");
}

function refusal(reason: ErrorReason.UNAUTHENTICATED | ErrorReason.FORBIDDEN, message: string): Error {
  return connectErrorFromDomain(new DomainError(reason, message));
}

interface KnownCaller {
  readonly name: string;
  readonly hash: Buffer;
  readonly allow: readonly string[];
}

function knownCaller(caller: RpcCaller | RpcToken): KnownCaller {
  const hash = "hash" in caller ? caller.hash : hashOfSecret(caller.secret);
  return { name: caller.name, hash: Buffer.from(hash, "hex"), allow: caller.allow };
}

/** Hashes have one length, and every token is compared: the time taken tells nothing about any of them. */
function findToken(known: readonly KnownCaller[], header: string | null): KnownCaller | undefined {
  const secret = /^Bearer +(\S+)$/i.exec(header ?? "")?.[1];
  const hash = Buffer.from(hashOfSecret(secret ?? ""), "hex");
  let found: KnownCaller | undefined;
  for (const candidate of known) {
    if (timingSafeEqual(candidate.hash, hash)) found = candidate;
  }
  return secret === undefined ? undefined : found;
}

function isAllowed(caller: KnownCaller, method: DescMethod): boolean {
  const rpc = rpcName(method);
  const service = `${method.parent.typeName}/*`;
  return caller.allow.some((pattern) => pattern === "*" || pattern === service || pattern === rpc);
}

/** Client interceptor that sends the service token with every call. */
export function clientAuthInterceptor(secret: string): Interceptor {
  return (next) => (request) => {
    request.header.set("authorization", `Bearer ${secret}`);
    return next(request);
  };
}
