/**
 * A dashboard may live on any origin: the session is a header that only it can add, no cookie says anything here, so a
 * foreign page gains nothing from being let in.
 */
const allowed = {
  "access-control-allow-origin": "*",
  "access-control-expose-headers": "x-request-id",
} as const;

const preflightAllowed = {
  ...allowed,
  "access-control-allow-methods": "GET, POST",
  "access-control-allow-headers": "authorization, content-type, x-request-id",
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
