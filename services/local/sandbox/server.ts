import { type Clock, systemClock } from "#services/platform/clock.ts";
import { createLogger } from "#services/platform/log.ts";
import { fetchHandler } from "#services/platform/transport/fetch-handler.ts";
import { type Listener, openListener } from "#services/platform/transport/listener.ts";
import { formOfUrl, pathOf } from "#services/platform/transport/target.ts";
import { type Api, createApi } from "./api.ts";
import { createBots } from "./bots.ts";
import { controlPrefix, type SandboxControl } from "./control.ts";
import { createControlRoutes } from "./control-routes.ts";
import { createControl } from "./in-process-control.ts";
import { page } from "./page.ts";
import { createRecord } from "./record.ts";
import { notFound } from "./refusal.ts";
import { maxBodyBytes } from "./request.ts";
import { createScript } from "./script.ts";
import { changedSettings, defaultSettings, type Settings } from "./settings.ts";
import { createStateFile, type StateFile } from "./state-file.ts";
import { createUpdates } from "./webhook.ts";
import type { World } from "./world.ts";

export interface SandboxOptions {
  /** Default 0: any free port, the same again after `listen(true)`. */
  port?: number;
  /** Default 127.0.0.1. */
  host?: string;
  /** For controls only, and never closed before `stop`. Default 0. */
  controlPort?: number;
  /** Where bots, webhooks and blocks are kept over a restart. Default: nowhere. */
  stateFile?: string;
  /** What differs from the default settings. */
  settings?: Partial<Settings>;
  /** Stamps arrivals and waits for latencies. Default: the system's. */
  clock?: Clock;
}

export interface Sandbox {
  /** Resolves once it listens. Throws when a port is taken or the state file cannot be read. */
  start(): Promise<void>;
  /** Cuts every connection. Safe twice, and before start. */
  stop(): Promise<void>;
  /** Root of the Bot API: what goes before `/bot<token>`. */
  readonly url: string;
  readonly port: number;
  readonly controlUrl: string;
  readonly control: SandboxControl;
}

/** A stand-in for Telegram's Bot API, and the controls that make it answer as wanted and tell what it received. */
export function createSandbox(options: SandboxOptions = {}): Sandbox {
  const host = options.host ?? "127.0.0.1";
  const log = createLogger({ service: "sandbox", level: "warn" });
  const { world, stateFile } = createWorld(options);
  const api = createApi(world, options.clock ?? systemClock);
  const control = createControl(world, createUpdates(world, api), listen);
  const controlRoutes = createControlRoutes(control, () => ({ url: urlOf(port), controlUrl: urlOf(controlPort) }));
  let port = options.port ?? 0;
  let controlPort = options.controlPort ?? 0;
  let publicServer: Promise<Listener> | undefined;
  let controlServer: Listener | undefined;

  function urlOf(portNumber: number): string {
    const name = host === "0.0.0.0" ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host;
    return `http://${name}:${portNumber}`;
  }

  // Bodies a little over the limit are still read, so that they get the Bot API's 413 and not a bare one.
  const limits = { bodyBytes: maxBodyBytes * 2 };

  function serve(portNumber: number, answer: (request: Request) => Response | Promise<Response>): Promise<Listener> {
    return openListener({ port: portNumber, host, log, limits, handler: fetchHandler(answer) });
  }

  async function listen(on: boolean): Promise<void> {
    if (!on) {
      const stopping = publicServer;
      publicServer = undefined;
      (await stopping)?.destroy();
    } else if (!publicServer) {
      publicServer = serve(port, (request) => answerPublic(world, api, controlRoutes, request));
      port = (await publicServer).port;
    }
  }

  async function start(): Promise<void> {
    if (controlServer) return;
    await stateFile.load();
    controlServer = await serve(controlPort, (request) => answerControl(world, controlRoutes, request, true));
    controlPort = controlServer.port;
    await listen(true);
  }

  async function stop(): Promise<void> {
    await listen(false);
    controlServer?.destroy();
    controlServer = undefined;
    await stateFile.flush();
  }

  return {
    start,
    stop,
    control,
    get url() {
      return urlOf(port);
    },
    get port() {
      return port;
    },
    get controlUrl() {
      return urlOf(controlPort);
    },
  };
}

function createWorld(options: SandboxOptions): { world: World; stateFile: StateFile } {
  const settings = changedSettings(defaultSettings, options.settings ?? {});
  const bots = createBots(() => world.settings);
  const stateFile = createStateFile(options.stateFile, bots);
  const clock = options.clock ?? systemClock;
  const madeAtMs = clock.monotonicMs();
  const world: World = {
    settings,
    bots,
    record: createRecord(settings.keepBodies),
    script: createScript(),
    nowMs: () => clock.monotonicMs() - madeAtMs,
    changed: stateFile.changed,
  };
  return { world, stateFile };
}

type ControlRoutes = ReturnType<typeof createControlRoutes>;

function answerPublic(world: World, api: Api, controls: ControlRoutes, request: Request): Response | Promise<Response> {
  const path = pathOf(formOfUrl(request.url));
  return path.startsWith("/bot") ? api.answer(request, path) : answerControl(world, controls, request, false);
}

function answerControl(world: World, controls: ControlRoutes, request: Request, isControl: boolean) {
  const pathname = pathOf(formOfUrl(request.url));
  if (pathname.startsWith(controlPrefix)) return controls(request, isControl);
  if (pathname === "/") return new Response(page(world.record), { headers: { "content-type": "text/html" } });
  return Response.json({ ok: false, error_code: notFound.status, description: notFound.description }, { status: 404 });
}
