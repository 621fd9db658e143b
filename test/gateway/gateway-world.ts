/** A gateway over services that only record what they were asked, and answer what a test tells them to. */
import { create, type DescMessage, type DescMethodUnary, type DescService } from "@bufbuild/protobuf";
import { type ConnectRouter, createRouterTransport } from "@connectrpc/connect";
import { createValidateInterceptor } from "@connectrpc/validate";
import { Type } from "@sinclair/typebox";
import { Registry } from "prom-client";
import { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { CampaignService } from "#gen/leadcast/campaign/v1/campaign_service_pb.ts";
import { trustedProxiesVar } from "#services/platform/client-address.ts";
import { type Clock, systemClock } from "#services/platform/clock.ts";
import { readConfig } from "#services/platform/config.ts";
import { createLogger } from "#services/platform/log.ts";
import type { Metrics } from "#services/platform/metrics.ts";
import { domainErrorInterceptor } from "#services/platform/rpc/errors.ts";
import { createGateway } from "../../gateway/app.ts";
import { createClients } from "../../gateway/clients.ts";
import { defaultLimits, type Limits } from "../../gateway/limits.ts";

export interface RecordedCall {
  /** Without its service: `StartBroadcast`. */
  readonly rpc: string;
  readonly request: object;
  readonly requestId: string | null;
}

/** Fields of a response, or what is thrown. */
type Reply = object | Error;

/** What an RPC answers, to any request or by the request's fields. Without one it answers with an empty response. */
export type Replies = Record<string, Reply | ((request: never) => Reply | Promise<Reply>)>;

export const token = "session-token-of-account-7";
export const accountId = 7n;

/** A reply of /api as tests look at it. */
export interface Envelope {
  readonly status: "ok" | "error";
  readonly error?: string;
  readonly message?: string;
  readonly data?: unknown;
}

export async function envelopeOf(response: Response | Promise<Response>): Promise<Envelope> {
  return (await (await response).json()) as Envelope;
}

export const authorized = { authorization: `Bearer ${token}` };

/** What is kept back for a second elsewhere is kept back for a moment here. */
const impatient: Clock = { ...systemClock, sleep: (_, signal) => systemClock.sleep(1, signal) };

const Proxies = Type.Object({ TRUSTED_PROXIES: trustedProxiesVar });

/** The session is paid and the account is 7, unless `replies` says otherwise. */
export function setup(replies: Replies = {}, options: { limits?: Partial<Limits>; trustedProxies?: string } = {}) {
  const calls: RecordedCall[] = [];
  const logged: Record<string, unknown>[] = [];
  const log = createLogger({
    service: "gateway",
    destination: { write: (line) => void logged.push(JSON.parse(line)) },
  });
  const services: Replies = { ResolveSession: { accountId, paid: true }, ...replies };
  const transport = createRouterTransport((router) => addServices(router, services, calls), {
    router: {
      interceptors: [
        domainErrorInterceptor(createLogger({ service: "fake", level: "silent" })),
        createValidateInterceptor(),
      ],
    },
  });
  const clients = createClients({ account: transport, campaign: transport, broadcast: transport });
  const metrics = bareMetrics();
  const gateway = createGateway({
    clients,
    log,
    publicUrl: "https://leadcast.example",
    metrics,
    limits: { ...defaultLimits, ...options.limits },
    clock: impatient,
    trustedProxies: readConfig(Proxies, { TRUSTED_PROXIES: options.trustedProxies }).TRUSTED_PROXIES,
  });
  const handle = (request: Request) => gateway.handle(request);
  return {
    gateway,
    metrics: () => metrics.text(),
    log,
    logged,
    handle,
    get calls() {
      return calls.filter(({ rpc }) => rpc !== "ResolveSession");
    },
    get sessions() {
      return calls.filter(({ rpc }) => rpc === "ResolveSession");
    },
    get: (pathAndQuery: string) => handle(new Request(`http://localhost${pathAndQuery}`, { headers: authorized })),
    post: (
      path: string,
      body: Record<string, string> | FormData | string | Uint8Array<ArrayBuffer> = {},
      headers: Record<string, string> = {},
    ) => {
      const form = typeof body === "string" || body instanceof FormData || body instanceof Uint8Array;
      const init = {
        method: "POST",
        headers: { ...authorized, ...headers },
        body: form ? body : new URLSearchParams(body),
      };
      return handle(new Request(`http://localhost${path}`, init));
    },
  };
}

/** The metrics of the process itself cost 30 ms to set up, and every world more than the one before. */
function bareMetrics(): Metrics {
  const registry = new Registry();
  return { registry, observeRpc: () => {}, text: () => registry.metrics(), contentType: registry.contentType };
}

function addServices(router: ConnectRouter, replies: Replies, calls: RecordedCall[]): void {
  for (const service of [AccountService, CampaignService, BroadcastService] as DescService[]) {
    for (const method of service.methods) {
      if (method.methodKind === "unary") addMethod(router, method as DescMethodUnary, replies, calls);
    }
  }
}

function addMethod(
  router: ConnectRouter,
  method: DescMethodUnary<DescMessage, DescMessage>,
  replies: Replies,
  calls: RecordedCall[],
): void {
  router.rpc(method, async (request, context) => {
    calls.push({ rpc: method.name, request: fieldsOf(request), requestId: context.requestHeader.get("x-request-id") });
    const told = replies[method.name] ?? {};
    const reply = typeof told === "function" ? await told(request as never) : told;
    if (reply instanceof Error) throw reply;
    return create(method.output, { ...reply });
  });
}

/** A message as a plain object, without the names of its types and without absent fields. */
function fieldsOf(value: unknown): object {
  return plain(value) as object;
}

function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Uint8Array || typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([name, member]) => !name.startsWith("$") && member !== undefined);
  return Object.fromEntries(entries.map(([name, member]) => [name, plain(member)]));
}
