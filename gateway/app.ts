import { Elysia } from "elysia";
import type { TrustedProxies } from "#services/platform/client-address.ts";
import { type Clock, systemClock } from "#services/platform/clock.ts";
import { createHoldBack } from "#services/platform/hold-back.ts";
import type { Logger } from "#services/platform/log.ts";
import { createMetrics, type Metrics } from "#services/platform/metrics.ts";
import { throughOneOrigin } from "#services/platform/transport/fetch-handler.ts";
import { createAccountTurns } from "./account-turns.ts";
import { type AnswerOptions, createAnswer, createUnknownAnswer } from "./answer.ts";
import type { GatewayClients } from "./clients.ts";
import type { Endpoint } from "./endpoint.ts";
import { defaultLimits, type Limits } from "./limits.ts";
import { createObserver, type Observe } from "./observe.ts";
import { openApiDocument, operationOf } from "./openapi.ts";
import { createAddressOf } from "./peer.ts";
import { broadcastEndpoints } from "./routes/broadcast.ts";
import { campEndpoints } from "./routes/camp.ts";
import { docsRoutes } from "./routes/docs.ts";
import { mediaEndpoints } from "./routes/media.ts";
import { createTelegramHandler } from "./routes/telegram.ts";
import { createSessions } from "./session.ts";
import { Strangers } from "./strangers.ts";

/** Every documented call, in the order of the API reference. */
export const endpoints: readonly Endpoint[] = [...campEndpoints, ...broadcastEndpoints, ...mediaEndpoints];

export interface GatewayOptions {
  readonly clients: GatewayClients;
  readonly log: Logger;
  /** Where the world reaches the gateway; only the API reference tells it. */
  readonly publicUrl?: string;
  /** Default: a registry of its own. */
  readonly metrics?: Metrics;
  readonly clock?: Clock;
  /** Proxies whose `x-forwarded-for` is believed; default none. */
  readonly trustedProxies?: TrustedProxies;
  /** Default: what holds unless the environment says otherwise. */
  readonly limits?: Limits;
}

const hidden = { detail: { hide: true } } as const;

/** Answers one request, and never throws. What the request's URL calls the host means nothing. */
export interface Gateway {
  handle(request: Request): Promise<Response>;
}

/**
 * The gateway. It holds no state but metrics. Bodies are read by our own code (`parse: "none"`): Elysia's parsers run
 * before any check and have no limits.
 */
export function createGateway(options: GatewayOptions): Gateway {
  const app = createApp(options);
  return { handle: throughOneOrigin((request) => app.handle(request)) };
}

function createApp(options: GatewayOptions) {
  const {
    clients,
    log,
    publicUrl,
    metrics,
    clock = systemClock,
    trustedProxies = [],
    limits = defaultLimits,
  } = options;
  const measured = metrics ?? createMetrics("gateway");
  const observe = createObserver({
    log,
    registry: measured.registry,
    clock,
    addressOf: createAddressOf(trustedProxies),
  });
  const strangers = new Strangers(limits);
  const holdBack = createHoldBack({ clock });
  const resolveSession = createSessions(clients.account, limits, strangers);
  const turns = createAccountTurns(limits);
  const answers = { clients, resolveSession, turns, holdBack, log };
  const api = apiRoutes(observe, answers);
  const document = JSON.stringify(openApiDocument(api, publicUrl));
  return new Elysia({ name: "gateway", strictPath: true })
    .use(api)
    .use(docsRoutes(observe, document))
    .post(
      "/telegram/:bot",
      observe("/telegram/:bot", createTelegramHandler({ clients, strangers, holdBack, log })),
      unparsed,
    )
    .get(
      "/healthz",
      observe("/healthz", () => Response.json({ status: "ok" })),
      hidden,
    )
    .all("/*", observe("(unknown)", notFound), unparsed)
    .all("/", observe("(unknown)", notFound), unparsed);
}

const unparsed = { parse: "none", ...hidden } as const;

function apiRoutes(observe: Observe, options: AnswerOptions) {
  const app = new Elysia({ name: "api", strictPath: true });
  for (const endpoint of endpoints) {
    const handler = observe(endpoint.path, createAnswer(endpoint, options));
    app.route(endpoint.method, endpoint.path, handler, { parse: "none", detail: operationOf(endpoint) });
  }
  const unknown = observe("/api/*", createUnknownAnswer(endpoints, options));
  return app.all("/api/*", unknown, unparsed).all("/api", unknown, unparsed);
}

function notFound(): Response {
  return new Response("Not found\n", { status: 404, headers: { "content-type": "text/plain" } });
}
