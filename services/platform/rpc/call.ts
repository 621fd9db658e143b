/**
 * What is known of the call that is being served, and of how it ends: for whoever keeps a record of calls. The record itself
 * (services/core/audit) is no concern of the server's.
 */
import type { DescMethod } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import type { Interceptor } from "@connectrpc/connect";
import { normalAddress } from "#services/platform/client-address.ts";
import type { Reason } from "#services/platform/domain-error.ts";
import { isOpenService } from "./auth.ts";
import { type Caller, currentScope, type RequestScope } from "./context.ts";
import { reasonFromError, rpcName } from "./errors.ts";
import { mapReply } from "./reply.ts";

/** A call whose message has been read. */
export interface ServedCall {
  /** `package.Service/Method`. */
  readonly rpc: string;
  /** False where the schema says NO_SIDE_EFFECTS, and of what tools ask (`isOpenService`); all else counts as a change. */
  readonly changes: boolean;
  /** The request; of a stream unknown. */
  readonly message: object;
  readonly caller: Caller;
  /** What its handler has left running is no longer part of the call. */
  ended: boolean;
}

/** A call that was refused, for its token or for what it asked. */
export interface RefusedCall extends Pick<ServedCall, "rpc" | "message" | "caller"> {
  readonly reason: Reason;
}

export interface CallObserver {
  /** A call that may change something has answered. */
  succeeded(call: ServedCall): void;
  refused(call: RefusedCall): void;
}

export function mayChange(method: DescMethod): boolean {
  return method.idempotency !== Idempotency.NO_SIDE_EFFECTS && !isOpenService(method.parent);
}

/** The call that is being served, if one is and its handler has not ended. */
export function currentCall(): ServedCall | undefined {
  const call = currentScope()?.call;
  return call === undefined || call.ended ? undefined : call;
}

/** Notes the call in its request's scope, and tells the observer how it ended. It stands before whatever refuses. */
export function callInterceptor(observer: CallObserver | undefined): Interceptor {
  return (next) => async (request) => {
    const scope = currentScope();
    if (scope === undefined) return await next(request);
    const call: ServedCall = {
      rpc: rpcName(request.method),
      changes: mayChange(request.method),
      message: request.stream ? {} : request.message,
      caller: callerOf(scope),
      ended: false,
    };
    scope.call = call;
    const end = (error?: unknown) => {
      call.ended = true;
      if (error !== undefined) observer?.refused({ ...call, reason: reasonFromError(error).reason });
      else if (call.changes) observer?.succeeded(call);
    };
    try {
      return mapReply(await next(request), { onEnd: end });
    } catch (error) {
      end(error);
      throw error;
    }
  };
}

/** A caller whose token was not found has an address all the same. */
export function callerOf(scope: RequestScope | undefined): Caller {
  return scope?.caller ?? { token: "", address: normalAddress(scope?.peer ?? "") ?? "", session: "" };
}
