import { ErrorReason } from "#services/platform/domain-error.ts";
import { type CallFailure, reasonFromError } from "#services/platform/rpc/errors.ts";

/** The failure that a call ends with. @throws if it succeeds. */
export async function failureOf(call: Promise<unknown>): Promise<CallFailure> {
  const outcome = await call.then(
    (reply) => ({ reply }),
    (error: unknown) => ({ error }),
  );
  if ("reply" in outcome) throw new Error("The call was expected to fail, and succeeded.");
  return reasonFromError(outcome.error);
}

/** Only its reason, by name: test output says NOT_YOURS and not 6. */
export async function reasonOf(call: Promise<unknown>): Promise<string> {
  return ErrorReason[(await failureOf(call)).reason];
}
