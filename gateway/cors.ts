import { traceHeaders } from "#services/platform/trace-headers.ts";

/**
 * A dashboard may live on any origin: the session is a header that only it can add, no cookie says anything here, so a
 * foreign page gains nothing from being let in.
 */
const allowed = {
  "access-control-allow-origin": "*",
  "access-control-expose-headers": ["x-request-id", "x-error", "x-revision", "retry-after"].join(", "),
} as const;

/** What our own clients send; `last-event-id` is sent by a browser that takes up a stream again. */
const requestHeaders = ["authorization", "content-type", "idempotency-key", "last-event-id", "x-request-id"];

const preflightAllowed = {
  ...allowed,
  "access-control-allow-methods": "GET, POST",
  "access-control-allow-headers": [...requestHeaders, ...traceHeaders].join(", "),
  // A day; browsers cut it to what they allow themselves.
  "access-control-max-age": "86400",
} as const;

export function isPreflight(request: Request): boolean {
  return request.method === "OPTIONS" && request.headers.has("access-control-request-method");
}

export function preflightReply(): Response {
  return new Response(null, { status: 204, headers: preflightAllowed });
}

/** Headers that let a page of another origin read a reply. */
export const corsHeaders: Readonly<Record<string, string>> = allowed;
