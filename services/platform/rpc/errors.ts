import { randomUUID } from "node:crypto";
import { type Violation, ViolationsSchema } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { ErrorInfoSchema } from "#gen/leadcast/errors/v1/error_info_pb.ts";
import { isConnectionFailure } from "#services/platform/connection-failure.ts";
import { DomainError, ErrorReason, type Reason } from "#services/platform/domain-error.ts";
import type { Logger } from "#services/platform/log.ts";
import { currentRequestId } from "./context.ts";
import { mapReply } from "./reply.ts";

/** What a caller can know about a failed call. */
export interface CallFailure {
  reason: Reason;
  /** A sentence for people, without the code that Connect puts in front. */
  message: string;
  /** Proto path of the field at fault; empty where there is none. */
  field: string;
  /** After how many seconds the same call may succeed; absent where waiting does not help, or nobody can say. */
  retryAfterSeconds?: number;
}

const codeFromReason: Record<Reason, Code> = {
  [ErrorReason.UNAUTHENTICATED]: Code.Unauthenticated,
  [ErrorReason.FORBIDDEN]: Code.PermissionDenied,
  [ErrorReason.SESSION_INVALID]: Code.Unauthenticated,
  [ErrorReason.UNPAID]: Code.FailedPrecondition,
  [ErrorReason.INVALID_ARGUMENT]: Code.InvalidArgument,
  [ErrorReason.NOT_YOURS]: Code.NotFound,
  [ErrorReason.FEATURE_MISSING]: Code.FailedPrecondition,
  [ErrorReason.WRONG_STATE]: Code.FailedPrecondition,
  [ErrorReason.BODY_INVALID]: Code.FailedPrecondition,
  [ErrorReason.NOT_SET_UP]: Code.FailedPrecondition,
  [ErrorReason.UNAVAILABLE]: Code.Unavailable,
  [ErrorReason.TELEGRAM_REFUSED]: Code.FailedPrecondition,
  [ErrorReason.RATE_LIMITED]: Code.ResourceExhausted,
  [ErrorReason.LIMIT_REACHED]: Code.ResourceExhausted,
  [ErrorReason.INTERNAL]: Code.Internal,
};

/**
 * The closest reason for errors that the runtime makes itself. It uses ResourceExhausted for a message above the size
 * limit, which is the caller's argument and not its pace; a real rate limit is a DomainError and brings its reason.
 */
const reasonFromCode: Record<Code, Reason> = {
  [Code.Canceled]: ErrorReason.UNAVAILABLE,
  [Code.Unknown]: ErrorReason.INTERNAL,
  [Code.InvalidArgument]: ErrorReason.INVALID_ARGUMENT,
  [Code.DeadlineExceeded]: ErrorReason.UNAVAILABLE,
  [Code.NotFound]: ErrorReason.NOT_YOURS,
  [Code.AlreadyExists]: ErrorReason.WRONG_STATE,
  [Code.PermissionDenied]: ErrorReason.FORBIDDEN,
  [Code.ResourceExhausted]: ErrorReason.INVALID_ARGUMENT,
  [Code.FailedPrecondition]: ErrorReason.WRONG_STATE,
  [Code.Aborted]: ErrorReason.UNAVAILABLE,
  [Code.OutOfRange]: ErrorReason.INVALID_ARGUMENT,
  [Code.Unimplemented]: ErrorReason.INTERNAL,
  [Code.Internal]: ErrorReason.INTERNAL,
  [Code.Unavailable]: ErrorReason.UNAVAILABLE,
  [Code.DataLoss]: ErrorReason.INTERNAL,
  [Code.Unauthenticated]: ErrorReason.UNAUTHENTICATED,
};

const unavailableMessage = "Something that this needs is not reachable at the moment; try again.";

/** Turns a refusal into what goes over the wire. */
export function connectErrorFromDomain(error: DomainError): ConnectError {
  return connectErrorFrom(error, codeFromReason[error.reason], error);
}

function connectErrorFrom(failure: CallFailure, code: Code, cause: unknown): ConnectError {
  const { reason, field, retryAfterSeconds = 0 } = failure;
  const info = { reason, field, retryAfterSeconds };
  const header = retryAfterSeconds > 0 ? { "retry-after": String(retryAfterSeconds) } : undefined;
  return new ConnectError(failure.message, code, header, [{ desc: ErrorInfoSchema, value: info }], cause);
}

/**
 * Adds the closest ErrorInfo to an error that has none. The error itself is changed: where the runtime fails before any
 * interceptor runs (a body that is too large or malformed), the error is on its way out and cannot be replaced.
 */
export function addErrorInfo(error: ConnectError): void {
  if (error.findDetails(ErrorInfoSchema).length > 0) return;
  error.details.push({ desc: ErrorInfoSchema, value: { reason: reasonFromCode[error.code], field: "" } });
}

/**
 * Server interceptor that maps whatever a handler, or an interceptor behind this one, throws:
 * DomainError → its code and ErrorInfo; a failed validation → the first violation in words; errors of the runtime keep
 * their code; lost connections to Postgres or NATS → UNAVAILABLE; anything else → INTERNAL, logged here with the request
 * id and not shown there.
 */
export function domainErrorInterceptor(log: Logger): Interceptor {
  return (next) => async (request) => {
    const mapped = (error: unknown) => connectErrorFromUnknown(error, log, rpcName(request.method));
    try {
      const response = await next(request);
      return mapReply(response, { mapError: mapped });
    } catch (error) {
      throw mapped(error);
    }
  };
}

/** `package.Service/Method`, as tokens, log lines and metrics name an RPC. */
export function rpcName(method: { name: string; parent: { typeName: string } }): string {
  return `${method.parent.typeName}/${method.name}`;
}

function connectErrorFromUnknown(error: unknown, log: Logger, rpc: string): ConnectError {
  if (error instanceof DomainError) return connectErrorFromDomain(error);
  if (isConnectionFailure(error)) {
    log.warn({ err: error, rpc, requestId: currentRequestId() }, "a dependency is not reachable");
    return connectErrorFrom(
      { reason: ErrorReason.UNAVAILABLE, message: unavailableMessage, field: "" },
      Code.Unavailable,
      error,
    );
  }
  if (error instanceof ConnectError) return connectErrorFromConnect(error, log, rpc);
  if (error instanceof Error && error.name === "AbortError") {
    return connectErrorFrom(
      { reason: ErrorReason.UNAVAILABLE, message: "The call was cancelled.", field: "" },
      Code.Canceled,
      error,
    );
  }
  return internalError(error, log, rpc);
}

function connectErrorFromConnect(error: ConnectError, log: Logger, rpc: string): ConnectError {
  const violation = error.findDetails(ViolationsSchema)[0]?.violations[0];
  if (violation !== undefined) return connectErrorFrom(failureFromViolation(violation), Code.InvalidArgument, error);
  const failure = reasonFromError(error);
  const { reason } = failure;
  // The caller's own token has been checked by now: this one comes from a call that we made, and it is our fault.
  const ours = reason === ErrorReason.UNAUTHENTICATED || reason === ErrorReason.FORBIDDEN;
  if (ours || reason === ErrorReason.INTERNAL) return internalError(error, log, rpc, error.code);
  return connectErrorFrom(failure, error.code, error);
}

/** Unimplemented and the like stay visible to a developer's tools; our token's trouble with a peer does not. */
function internalError(error: unknown, log: Logger, rpc: string, code: Code = Code.Internal): ConnectError {
  const requestId = currentRequestId() ?? randomUUID();
  log.error({ err: error, rpc, requestId }, "an RPC failed");
  if (code === Code.Unimplemented && error instanceof ConnectError) {
    return connectErrorFrom({ reason: ErrorReason.INTERNAL, message: error.rawMessage, field: "" }, code, error);
  }
  const message = `Something went wrong on our side; the request id is ${requestId}`;
  return connectErrorFrom({ reason: ErrorReason.INTERNAL, message, field: "" }, Code.Internal, error);
}

function failureFromViolation(violation: Violation): CallFailure {
  const field = fieldPath(violation);
  const message = violation.message === "" ? `does not satisfy ${violation.ruleId}` : violation.message;
  return { reason: ErrorReason.INVALID_ARGUMENT, message: field === "" ? message : `${field}: ${message}`, field };
}

function fieldPath({ field }: Violation): string {
  const parts = field?.elements.map(({ fieldName, subscript }) => {
    if (subscript.case === undefined) return fieldName;
    const key = typeof subscript.value === "string" ? JSON.stringify(subscript.value) : String(subscript.value);
    return `${fieldName}[${key}]`;
  });
  return parts?.join(".") ?? "";
}

/**
 * What a failed call means, for callers: the ErrorInfo of a ConnectError, the closest reason where it has none, and
 * UNAVAILABLE where the service was not reached. The message of anything else is not passed on: it may hold a URL.
 */
export function reasonFromError(error: unknown): CallFailure {
  if (error instanceof DomainError) {
    const { reason, message, field, retryAfterSeconds } = error;
    return { reason, message, field, ...wait(retryAfterSeconds) };
  }
  if (error instanceof ConnectError) {
    const info = error.findDetails(ErrorInfoSchema)[0];
    if (info !== undefined && info.reason !== ErrorReason.UNSPECIFIED) {
      const { reason, field, retryAfterSeconds } = info;
      return { reason, message: error.rawMessage, field, ...wait(retryAfterSeconds) };
    }
  }
  if (isConnectionFailure(error)) return { reason: ErrorReason.UNAVAILABLE, message: unavailableMessage, field: "" };
  if (error instanceof ConnectError) {
    return { reason: reasonFromCode[error.code], message: error.rawMessage, field: "" };
  }
  return { reason: ErrorReason.INTERNAL, message: "Something went wrong on our side.", field: "" };
}

function wait(retryAfterSeconds: number): Pick<CallFailure, "retryAfterSeconds"> {
  return retryAfterSeconds > 0 ? { retryAfterSeconds } : {};
}
