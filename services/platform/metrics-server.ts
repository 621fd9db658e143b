/** Metrics and health at a port of their own: whoever may scrape them need not reach what the process serves. */
import type { Server } from "bun";
import { listenError } from "./address.ts";
import type { Logger } from "./log.ts";
import type { Metrics } from "./metrics.ts";

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
const maxRequestBytes = 4 * 1024;

/**
 * GET /metrics and GET /healthz, in cleartext.
 *
 * @throws ConfigError or StartError with one sentence where a port that was asked for cannot be opened.
 */
export function startMetricsServer(options: MetricsServerOptions): MetricsServer {
  const { host, port, mainPort, process, log } = options;
  const variable = `${process}_METRICS`;
  if (port !== undefined) return wrap(listen(options, port, variable));
  const usual = usualMetricsPort(mainPort);
  try {
    return wrap(listen(options, usual, variable));
  } catch (error) {
    if ((error as Error).name !== "StartError") throw error;
    const server = wrap(listen(options, 0, variable));
    log.warn(
      { usual, port: server.port, host },
      `the usual port of metrics is taken; set ${variable}_PORT to choose one`,
    );
    return server;
  }
}

export function usualMetricsPort(mainPort: number): number {
  return mainPort + distance > maxPort ? mainPort - distance : mainPort + distance;
}

function wrap(server: Server<undefined>): MetricsServer {
  return { port: server.port!, stop: () => server.stop(true) };
}

function listen(options: MetricsServerOptions, port: number, variable: string): Server<undefined> {
  const { host } = options;
  try {
    return Bun.serve({
      hostname: host,
      port,
      maxRequestBodySize: maxRequestBytes,
      routes: { "/metrics": answers(() => metricsReply(options)), "/healthz": answers(() => healthReply(options)) },
      fetch: () => new Response("There is nothing at this path.\n", { status: 404 }),
      error: (error) => {
        options.log.error({ err: error }, "metrics could not be told");
        return new Response("Something went wrong on our side.\n", { status: 500 });
      },
    });
  } catch (error) {
    throw listenError(error, { host, port, variable });
  }
}

/** Bun answers HEAD as it answers GET, without the body. */
function answers(reply: () => Promise<Response>) {
  return { GET: reply, HEAD: reply };
}

async function metricsReply({ metrics }: MetricsServerOptions): Promise<Response> {
  return new Response(await metrics.text(), { headers: { "content-type": metrics.contentType } });
}

async function healthReply({ isReady }: MetricsServerOptions): Promise<Response> {
  const ready = await isReady().catch(() => false);
  return Response.json({ ready }, { status: ready ? 200 : 503 });
}
