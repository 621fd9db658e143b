import { collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export interface Metrics {
  /** Where a process registers its own metrics as well. */
  readonly registry: Registry;
  /** Records one finished RPC. */
  observeRpc(rpc: string, code: string, durationMs: number): void;
  /** Everything in Prometheus' text format, a tenth of a second old at most. */
  text(): Promise<string>;
  readonly contentType: string;
}

/** Upper bounds in seconds: a resolved session takes about 1 ms, an upload or a preview up to a minute. */
const rpcBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** A report takes up to 30 ms of the process, and anybody may ask: 400 requests at once held it for 19 s. */
const freshMs = 100;

function sharedReport(registry: Registry): () => Promise<string> {
  let report: Promise<string> | undefined;
  let madeMs = 0;
  return () => {
    if (report !== undefined && performance.now() - madeMs < freshMs) return report;
    const next = registry.metrics().finally(() => {
      madeMs = performance.now();
    });
    report = next;
    // While it is being made nobody begins another one.
    madeMs = Number.POSITIVE_INFINITY;
    return next;
  };
}

/** A registry of its own for each process (and each test): prom-client's global one would mix servers that share one. */
export function createMetrics(service: string): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ service });
  collectDefaultMetrics({ register: registry });
  const rpcDuration = new Histogram({
    name: "leadcast_rpc_duration_seconds",
    help: "Duration of an RPC by its name and the code that it ended with.",
    labelNames: ["rpc", "code"],
    buckets: rpcBuckets,
    registers: [registry],
  });
  return {
    registry,
    observeRpc: (rpc, code, durationMs) => rpcDuration.observe({ rpc, code }, durationMs / 1000),
    text: sharedReport(registry),
    contentType: registry.contentType,
  };
}

/** Tells when the certificate that the process serves with ends: seconds since 1970. */
export function observeCertificate(registry: Registry, endsAt: () => number | undefined): void {
  new Gauge({
    name: "leadcast_tls_certificate_end_timestamp_seconds",
    help: "When the certificate that the process serves with ends, in seconds since 1970.",
    registers: [registry],
    collect() {
      const end = endsAt();
      if (end !== undefined) this.set(end);
    },
  });
}
