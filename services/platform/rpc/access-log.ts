import {
  Code,
  ConnectError,
  type ContextKey,
  createContextKey,
  type HandlerContext,
  type Interceptor,
} from "@connectrpc/connect";
import type { Logger } from "#services/platform/log.ts";
import type { Metrics } from "#services/platform/metrics.ts";
import { callerKey, currentRequestId } from "./context.ts";
import { addErrorInfo, rpcName } from "./errors.ts";
import { mapReply } from "./reply.ts";
import { blameCaller } from "./unreadable.ts";

interface CallProgress {
  startedMs: number;
  /** The call got past gate, body and parser, and the interceptor reports how it ends. */
  reachedInterceptors: boolean;
}

const progressKey: ContextKey<CallProgress | undefined> = createContextKey(undefined, { description: "progress" });

/** One JSON line and one observation for every call, also for those that are refused before any interceptor runs. */
export interface AccessLog {
  /** Goes first in the request gate. */
  watch(context: HandlerContext): void;
  /** Goes first among the interceptors. */
  interceptor: Interceptor;
}

export function createAccessLog(log: Logger, metrics: Metrics | undefined): AccessLog {
  function report(rpc: string, caller: string, startedMs: number, error: unknown): void {
    const code = error === undefined ? "ok" : codeName(ConnectError.from(error).code);
    const durationMs = Math.round((performance.now() - startedMs) * 1000) / 1000;
    metrics?.observeRpc(rpc, code, durationMs);
    log.info({ rpc, code, durationMs, requestId: currentRequestId(), caller }, "rpc");
  }

  return {
    watch: (context) => {
      const progress = { startedMs: performance.now(), reachedInterceptors: false };
      context.values.set(progressKey, progress);
      // The runtime aborts the call's signal with the error just before it writes the error out. That is the one moment
      // at which an error from before the interceptors (body too large, malformed, no token) can be seen and completed.
      context.signal.addEventListener("abort", () => {
        const error: unknown = context.signal.reason;
        if (!(error instanceof ConnectError)) return;
        if (!progress.reachedInterceptors) blameCaller(error);
        addErrorInfo(error);
        if (progress.reachedInterceptors) return;
        report(rpcName(context.method), context.values.get(callerKey), progress.startedMs, error);
      });
    },
    interceptor: (next) => async (request) => {
      const progress = request.contextValues.get(progressKey);
      const startedMs = progress?.startedMs ?? performance.now();
      if (progress !== undefined) progress.reachedInterceptors = true;
      const end = (error?: unknown) => {
        // A reader that leaves ends a stream without an error; the aborted signal says that it was not finished.
        const left = error === undefined && request.stream && request.signal.aborted;
        const ending = left ? new ConnectError("the caller left", Code.Canceled) : error;
        report(rpcName(request.method), request.contextValues.get(callerKey), startedMs, ending);
      };
      try {
        return mapReply(await next(request), { onEnd: end });
      } catch (error) {
        end(error);
        throw error;
      }
    },
  };
}

/** `DeadlineExceeded` → `deadline_exceeded`, as the Connect protocol spells codes. */
function codeName(code: Code): string {
  return Code[code].replaceAll(/(?<!^)([A-Z])/g, "_$1").toLowerCase();
}
