/**
 * Request headers that tracing adds to a page's calls: W3C Trace Context and Baggage, and Sentry's own. A page that is
 * traced sends them whether we read them or not, and its browser sends nothing at all if a preflight does not allow them.
 */
export const traceHeaders: readonly string[] = ["traceparent", "tracestate", "baggage", "sentry-trace"];
