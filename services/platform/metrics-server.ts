/** Metrics and health at a port of their own: whoever may scrape them need not reach what the process serves. */
import { listenError } from "./address.ts";
import type { Logger } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import { createReadiness } from "./readiness.ts";
import type { Handler, HttpResponse } from "./transport/exchange.ts";
import { type Listener, openListener } from "./transport/listener.ts";
import { pathOf } from "./transport/target.ts";

export interface MetricsServerOptions {
  host: string;
  /** Undefined: a thousand above the main port, or a free one where that is taken. */
  port: number | undefined;
  /** The bound one of what the process serves. */
  mainPort: number;
  /** The start of its variables' names, such as `ACCOUNT`. */
  process: string;
  metrics: Metrics;
  isReady: () => Promise<boolean>;
  log: Logger;
}

export interface MetricsServer {
  readonly port: number;
  stop(): Promise<void>;
}

const distance = 1_000;
const maxPort = 65_535;
const limits = { bodyBytes: 4 * 1024 };

/**
 * GET /metrics and GET /healthz, in cleartext.
 *
 * @throws ConfigError or StartError with one sentence where a port that was asked for cannot be opened.
 */
export async function startMetricsServer(options: MetricsServerOptions): Promise<MetricsServer> {
  const { host, port, mainPort, process, log } = options;
  const variable = `${process}_METRICS`;
  if (port !== undefined) return wrap(await listen(options, port, variable));
  const usual = usualMetricsPort(mainPort);
  try {
    return wrap(await listen(options, usual, variable));
  } catch (error) {
    if ((error as Error).name !== "StartError") throw error;
    const listener = await listen(options, 0, variable);
    log.warn(
      { usual, port: listener.port, host },
      `the usual port of metrics is taken; set ${variable}_PORT to choose one`,
    );
    return wrap(listener);
  }
}

export function usualMetricsPort(mainPort: number): number {
  return mainPort + distance > maxPort ? mainPort - distance : mainPort + distance;
}

function wrap(listener: Listener): MetricsServer {
  return { port: listener.port, stop: async () => listener.destroy() };
}

async function listen(options: MetricsServerOptions, port: number, variable: string): Promise<Listener> {
  const { host, log } = options;
  try {
    return await openListener({ host, port, log, limits, handler: createHandler(options) });
  } catch (error) {
    throw listenError(error instanceof Error && error.cause !== undefined ? error.cause : error, {
      host,
      port,
      variable,
    });
  }
}

function createHandler({ metrics, isReady, log }: MetricsServerOptions): Handler {
  const readiness = createReadiness({ check: isReady, log });
  return async ({ method, target }) => {
    const path = pathOf(target);
    const isRead = method === "GET" || method === "HEAD";
    if (isRead && path === "/metrics") return reply(200, metrics.contentType, await metrics.text());
    if (!isRead || path !== "/healthz") return reply(404, "text/plain", "There is nothing at this path.\n");
    const ready = await readiness.isReady();
    return reply(ready ? 200 : 503, "application/json", JSON.stringify({ ready }));
  };
}

function reply(status: number, contentType: string, text: string): HttpResponse {
  return { status, header: new Headers({ "content-type": contentType }), body: new TextEncoder().encode(text) };
}
