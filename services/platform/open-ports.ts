/** The last step of a process's start: its port opens, then the one of its metrics. */
import { type ListenPlace, listenError, urlOfListener } from "./address.ts";
import type { WatchedTls } from "./certificates.ts";
import type { ProcessContext } from "./lifecycle.ts";
import type { Logger } from "./log.ts";
import { type Metrics, observeCertificate } from "./metrics.ts";
import { type MetricsServerOptions, startMetricsServer } from "./metrics-server.ts";

/** What answers at the main port, once it is open. */
export interface OpenServer {
  readonly port: number;
  stop(): Promise<void>;
}

export interface OpenPortsOptions {
  /** The start of its variables' names. */
  process: "GATEWAY" | "ACCOUNT" | "CAMPAIGN" | "BROADCAST" | "DELIVERY";
  /** The process's configuration: the variables of its ports are looked up by name. */
  config: Readonly<Record<string, unknown>>;
  /** Opens the main port. */
  open(): Promise<OpenServer>;
  /** Whether the process can do its work. */
  isReady(): Promise<boolean>;
  tls: WatchedTls | undefined;
  metrics: Metrics;
  log: Logger;
}

/**
 * Opens both and announces where they are. Metrics are told for as long as the process can tell them: their port is registered
 * first, so that it closes last.
 *
 * @throws ConfigError or StartError with one sentence where a port cannot be opened.
 */
export async function openPorts(
  { onStop, announce }: Pick<ProcessContext, "onStop" | "announce">,
  { process, config, open, isReady, tls, metrics, log }: OpenPortsOptions,
): Promise<void> {
  if (tls !== undefined) {
    onStop("certificates", tls.stop);
    observeCertificate(metrics.registry, () => tls.endsAt);
  }
  let closeMetrics = async () => {};
  onStop("metrics", () => closeMetrics());
  const host = config[`${process}_HOST`] as string;
  const server = await open().catch((error: unknown) => {
    throw named(error, { host, port: config[`${process}_PORT`] as number, variable: process });
  });
  onStop("server", () => server.stop());
  const place: MetricsServerOptions = {
    host: config[`${process}_METRICS_HOST`] as string,
    port: config[`${process}_METRICS_PORT`] as number | undefined,
    mainPort: server.port,
    process,
    metrics,
    isReady,
    log,
  };
  const scraped = await startMetricsServer(place);
  closeMetrics = () => scraped.stop();
  announce({
    port: server.port,
    url: urlOfListener(tls === undefined ? "http" : "https", host, server.port),
    metrics: `${urlOfListener("http", place.host, scraped.port)}/metrics`,
  });
}

/** A listener knows its port, and not which variable has set it. */
function named(error: unknown, place: ListenPlace): unknown {
  return error instanceof Error && error.cause !== undefined ? listenError(error.cause, place) : error;
}
