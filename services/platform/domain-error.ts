import { ErrorReason } from "#gen/leadcast/errors/v1/error_info_pb.ts";

export { ErrorReason };

/** A reason that may be given to a caller: every member of ErrorReason but the one that is never sent. */
export type Reason = Exclude<ErrorReason, ErrorReason.UNSPECIFIED>;

/**
 * A refusal that the caller may see: a reason from the closed union, and a sentence for people that says what to do.
 * The sentence never holds a secret, a stack trace, SQL or a person's data. Anything else that is thrown is a fault of
 * ours: it is logged here and shown there as INTERNAL.
 */
export class DomainError extends Error {
  override readonly name = "DomainError";

  constructor(
    readonly reason: Reason,
    message: string,
    /** `field` is the request's field at fault, as a proto path; `retryAfterSeconds` only where waiting helps. */
    options: { field?: string; cause?: unknown; retryAfterSeconds?: number } = {},
  ) {
    super(message, { cause: options.cause });
    this.field = options.field ?? "";
    this.retryAfterSeconds = options.retryAfterSeconds ?? 0;
  }

  readonly field: string;
  /** After how long the same call may succeed; 0 where waiting does not help, or nobody can say. */
  readonly retryAfterSeconds: number;
}

/** The answer for what does not exist and for what belongs to another account: nobody can tell the two apart. */
export function notYours(what: "broadcast" | "campaign" | "bot" | "lead" | "account" | "media"): DomainError {
  return new DomainError(ErrorReason.NOT_YOURS, `There is no such ${what} in your account.`);
}
