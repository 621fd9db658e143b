import { ErrorReason, type Reason } from "#services/platform/domain-error.ts";
import { reasonFromError } from "#services/platform/rpc/errors.ts";

/** Every code that a reply of `/api/*.json` may carry, with what it means to the caller. */
export const restCodes = {
  key: "There is no session, or it is unknown, revoked or expired.",
  unpaid: "The account's subscription is not active.",
  func: "There is no such call, a parameter is missing or invalid, or the stored message cannot be sent as it is.",
  access: "There is no such broadcast or campaign in the account.",
  broadcasts: "The account's tariff does not include broadcasts.",
  state: "The action does not fit the broadcast's present status.",
  db: "Something the system depends on is away; try again.",
  telegram: "Telegram refused the preview; the message holds its words.",
  limit: "Too many calls at once or in too short a time, or more of something than the account may have.",
} as const;

export type RestCode = keyof typeof restCodes;

/** What a refusal is in HTTP's own terms, for paths that do not end in `.json`: those always answer 200. */
export const httpStatusFromCode: Readonly<Record<RestCode, number>> = {
  key: 401,
  unpaid: 402,
  func: 400,
  access: 404,
  broadcasts: 403,
  state: 409,
  db: 503,
  telegram: 502,
  limit: 429,
};

/** A refusal as REST tells it: a documented code and a sentence for people. */
export class RestError extends Error {
  override readonly name = "RestError";

  constructor(
    readonly code: RestCode,
    message: string,
    options: { cause?: unknown; retryAfterSeconds?: number | undefined; heldBack?: boolean } = {},
  ) {
    super(message, options);
    this.retryAfterSeconds = options.retryAfterSeconds ?? 0;
    this.heldBack = options.heldBack ?? false;
  }

  /** After how long the same call may succeed; 0 where waiting does not help, or nobody can say. */
  readonly retryAfterSeconds: number;
  /** Whether its reply is kept back for a moment: its caller asks too much. */
  readonly heldBack: boolean;
}

/** A refusal that waiting cures. */
export function limited(message: string, retryAfterSeconds: number): RestError {
  return new RestError("limit", message, { retryAfterSeconds, heldBack: true });
}

/**
 * The REST code of each reason. Faults between our own processes, a refused service token among them, are `db`: to a
 * customer they are one thing, a system that is not well at this moment.
 */
export const restCodeFromReason: Readonly<Record<Reason, RestCode>> = {
  [ErrorReason.UNAUTHENTICATED]: "db",
  [ErrorReason.FORBIDDEN]: "db",
  [ErrorReason.SESSION_INVALID]: "key",
  [ErrorReason.UNPAID]: "unpaid",
  [ErrorReason.INVALID_ARGUMENT]: "func",
  [ErrorReason.NOT_YOURS]: "access",
  [ErrorReason.FEATURE_MISSING]: "broadcasts",
  [ErrorReason.WRONG_STATE]: "state",
  [ErrorReason.BODY_INVALID]: "func",
  [ErrorReason.NOT_SET_UP]: "func",
  [ErrorReason.UNAVAILABLE]: "db",
  [ErrorReason.TELEGRAM_REFUSED]: "telegram",
  [ErrorReason.RATE_LIMITED]: "limit",
  [ErrorReason.LIMIT_REACHED]: "limit",
  [ErrorReason.INTERNAL]: "db",
};

/** Said for every `db`: what really happened is in the log, under the request's id. */
const dependencyAway = "Something the system depends on is away. Please try again in a moment.";

/** Turns whatever an RPC, or our own code, threw into the refusal that the caller sees. Nothing internal passes. */
export function restErrorFrom(error: unknown): RestError {
  if (error instanceof RestError) return error;
  const { reason, message, field, retryAfterSeconds } = reasonFromError(error);
  const code = restCodeFromReason[reason];
  if (code === "db") return new RestError("db", dependencyAway, { cause: error });
  const heldBack = reason === ErrorReason.RATE_LIMITED;
  return new RestError(code, inRestNames(message, field), { cause: error, retryAfterSeconds, heldBack });
}

/** Where a request's field and its REST parameter have different names. */
const restNames: Readonly<Record<string, string>> = {
  broadcast_id: "id",
  campaign_id: "id",
  campaign_ids: "campaigns",
  delay_seconds: "delay",
  created_from_time: "created_from",
  created_to_time: "created_to",
  status_from_time: "status_from",
  status_to_time: "status_to",
  content: "file",
};

/** A sentence that names the field by its proto path, `body.text`, gets the parameter's name instead; else it stays. */
function inRestNames(message: string, field: string): string {
  if (field === "" || !message.includes(field)) return message;
  const last = field.replace(/\[.*$/, "").split(".").at(-1) ?? field;
  return message.replaceAll(field, restNames[last] ?? last);
}
