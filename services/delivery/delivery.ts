/** Puts delivery's parts together: leases decide which shards are worked on, intake pulls their jobs, the worker sends. */
import { randomUUID } from "node:crypto";
import type { ConnectRouter } from "@connectrpc/connect";
import type { NatsConnection } from "nats";
import { Counter, Gauge, type Registry } from "prom-client";
import { takeServiceNumber } from "#services/core/bot/duplicate.ts";
import { numberOfToken } from "#services/core/bot/number.ts";
import type { Sql } from "#services/core/database/client.ts";
import type { SendJob } from "#services/core/ledger/claim.ts";
import type { DatabaseClock } from "#services/core/ledger/database-clock.ts";
import { rescueSends } from "#services/core/ledger/rescue.ts";
import { SendKind, shardOf } from "#services/core/ledger/send.ts";
import { encodeUnsent } from "#services/core/queue/jobs.ts";
import { ensureConsumer, ensureStream, type StreamOptions } from "#services/core/queue/streams.ts";
import { unsentSubject } from "#services/core/queue/subjects.ts";
import { LeaseKeeper, LeaseRole } from "#services/core/shards/leases.ts";
import type { Clock } from "#services/platform/clock.ts";
import type { Logger } from "#services/platform/log.ts";
import { webhookSecretContext } from "#services/platform/secret-contexts.ts";
import type { SecretBox } from "#services/platform/secrets.ts";
import { Attachments } from "./attachments.ts";
import { Holds } from "./holds.ts";
import { Intake } from "./intake.ts";
import { KnownStreaks } from "./known-streaks.ts";
import { Probes } from "./probes.ts";
import { RestoreGuard } from "./restore.ts";
import { deliveryRoutes } from "./routes.ts";
import { Settler } from "./settler.ts";
import { Shards } from "./shards.ts";
import { createBotApi } from "./telegram.ts";
import { TokenChecks } from "./token-checks.ts";
import { Worker, type WorkerOptions } from "./worker.ts";

export interface DeliveryOptions {
  sql: Sql;
  nc: NatsConnection;
  stream: StreamOptions;
  clock: Clock;
  databaseClock?: DatabaseClock;
  apiRoot: string;
  secretBox: SecretBox;
  /** The bot that sends previews. */
  serviceBotToken: string;
  /** Where Telegram reaches the gateway, for setWebhook. */
  publicUrl?: string;
  registry: Registry;
  log: Logger;
  /** Timeouts of the Bot API; the rescue follows them by a margin. */
  timeoutMs?: number;
  uploadTimeoutMs?: number;
  rescueMarginMs?: number;
  limitOf?: WorkerOptions["limitOf"];
  chatIntervalMs?: number;
  lease?: { ttlMs?: number; tickMs?: number };
}

export interface Delivery {
  routes: (router: ConnectRouter) => void;
  start(): void;
  /** Drains: pulls nothing more, finishes what is on the wire, settles, acks, gives up the leases. Safe twice. */
  stop(): Promise<void>;
}

/** Between looks for claims to rescue, and for a database that was restored. */
const LEDGER_TICK_MS = 1_000;
const RESTORED = "the database was restored or failed over: all sending is held";
/** After the send's timeout, before its claim may be rescued: time for the result to be written. */
const RESCUE_MARGIN_MS = 5_000;

/** Sealed with the bot's id, so that a token copied to another row opens nothing. */
export function botTokenContext(botId: number): string {
  return `bot:${botId}`;
}

export async function createDelivery(options: DeliveryOptions): Promise<Delivery> {
  const { sql, nc, clock, databaseClock, log, stream } = options;
  const { timeoutMs = 10_000, uploadTimeoutMs = 60_000, rescueMarginMs = RESCUE_MARGIN_MS } = options;
  const onError = (error: unknown) => log.error({ err: error }, "delivery: will be tried again");
  const jsm = await nc.jetstreamManager();
  await ensureStream(jsm, stream);
  await nameServiceBot(options);
  const restores = new RestoreGuard(sql);
  let restored = await restores.check();
  if (restored) log.error(RESTORED);

  const api = createBotApi({ apiRoot: options.apiRoot, timeoutMs, uploadTimeoutMs });
  const attachments = new Attachments({ sql, clock, timeoutMs, uploadTimeoutMs });
  const openToken = createTokenCache(options.secretBox);
  const streaks = new KnownStreaks();
  const onLifted = (botId: number) => worker.release(botId);
  const settler = new Settler({
    sql,
    clock,
    databaseClock,
    onError,
    streaks,
    onStreaks: (change) => {
      for (const [botId, what] of change) what === "held" ? worker.hold(botId) : onLifted(botId);
    },
  });
  const holds = new Holds({ sql, clock, databaseClock, onError });
  const probes = new Probes({
    sql,
    clock,
    databaseClock,
    openToken,
    getMe: api.getMe,
    shards: () => [...leases.fences().keys()],
    tryJob: (job) => worker.tryJob(job),
    onStanding: (held, rateLimited, readAtMs) => worker.follow(held, rateLimited, readAtMs),
    onLifted,
    streaks,
    onError,
  });
  const leases: LeaseKeeper = new LeaseKeeper({
    sql,
    clock,
    role: LeaseRole.delivery,
    name: `delivery-${randomUUID()}`,
    ...options.lease,
    onAcquired: (acquired) => shards.acquired(acquired),
    onLost: (lost) => shards.lost(lost),
    drain: (drained) => shards.drain(drained),
    onError,
  });
  const worker: Worker = new Worker({
    sql,
    clock,
    databaseClock,
    leases,
    isOpen: (shard) => shards.isOpen(shard),
    timeline: () => restores.timeline,
    api,
    settler,
    holds,
    openToken,
    tokenChecks: new TokenChecks({ clock, getMe: api.getMe }),
    rescueMs: { text: timeoutMs + rescueMarginMs, media: uploadTimeoutMs + rescueMarginMs },
    onUnsent: (jobs) => publishUnsent(nc, jobs),
    onError,
    limitOf: options.limitOf,
    chatIntervalMs: options.chatIntervalMs,
    onOutcome: countOutcomes(options.registry),
    attach: (send, deliver) => attachments.attach(send, deliver),
  });
  const intake = new Intake({
    nc,
    jsm,
    stream,
    clock,
    offer: (job, ack) => worker.offer(job, ack),
    queuedCount: () => worker.queuedCount,
    onError,
  });
  const shards = new Shards({
    ensureConsumers: (shard) => Promise.all(Object.values(SendKind).map((kind) => ensureConsumer(jsm, shard, kind))),
    intake,
    worker,
    onError,
  });
  gauge(options.registry, "leadcast_delivery_queued", "Jobs that wait for their place.", () => worker.queuedCount);
  gauge(options.registry, "leadcast_delivery_in_flight", "Requests on the wire.", () => worker.inFlightCount);

  async function lookAfterLedger(): Promise<void> {
    const before = restored;
    restored = await restores.check();
    if (restored && !before) log.error(RESTORED);
    const rescued = await rescueSends(sql);
    if (rescued > 0) log.warn({ rescued }, "claims whose owner was silent are unconfirmed now");
  }

  async function lookAfterLedgerForever(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await lookAfterLedger().catch(onError);
      await clock.sleep(LEDGER_TICK_MS, signal);
    }
  }

  const stopping = new AbortController();
  const loops: Promise<void>[] = [];
  let stopped: Promise<void> | undefined;

  async function stopAll(): Promise<void> {
    await shards.stop();
    await worker.stop();
    await leases.stop();
    stopping.abort();
    await Promise.all(loops);
    await settler.flush();
    await nc.flush().catch(onError);
  }

  return {
    routes: deliveryRoutes({
      sql,
      api,
      serviceBotToken: options.serviceBotToken,
      clock,
      databaseClock,
      openToken,
      secretBox: options.secretBox,
      openSecret: (botId, sealed) => options.secretBox.decrypt(sealed, webhookSecretContext(botId)),
      publicUrl: options.publicUrl,
      jsm,
      stream,
    }),
    start: () => {
      leases.start();
      worker.start();
      loops.push(lookAfterLedgerForever(stopping.signal), probes.run(stopping.signal));
    },
    stop: () => {
      stopped ??= stopAll();
      return stopped;
    },
  };
}

/** The number of the bot that sends previews is nobody else's: a bot that had it is held, and named. */
async function nameServiceBot({ sql, serviceBotToken, log }: DeliveryOptions): Promise<void> {
  const number = numberOfToken(serviceBotToken);
  if (number === undefined) return;
  const botId = await takeServiceNumber(sql, number);
  if (botId !== undefined) log.error({ botId }, "SERVICE_BOT_TOKEN has the number of this bot: it is held");
}

/** Decrypted tokens by sealed text: a replaced token is sealed anew, so an entry is never stale. */
function createTokenCache(secretBox: SecretBox): (botId: number, sealed: string) => string {
  const tokens = new Map<string, string>();
  return (botId, sealed) => {
    const known = tokens.get(sealed);
    if (known !== undefined) return known;
    if (tokens.size >= 10_000) tokens.clear();
    const token = secretBox.decrypt(sealed, botTokenContext(botId));
    tokens.set(sealed, token);
    return token;
  };
}

/** Hints to the relays. A lost one costs seconds, so nobody waits for them. */
function publishUnsent(nc: NatsConnection, jobs: readonly SendJob[]): void {
  if (nc.isClosed()) return;
  for (const [shard, ofShard] of Map.groupBy(jobs, (job) => shardOf(job.botId))) {
    nc.publish(unsentSubject(shard), encodeUnsent(ofShard));
  }
}

function countOutcomes(registry: Registry): (outcome: string) => void {
  const counter = new Counter({
    name: "leadcast_delivery_outcomes_total",
    help: "Requests to the Bot API by what came of them.",
    labelNames: ["outcome"],
    registers: [registry],
  });
  return (outcome) => counter.inc({ outcome });
}

function gauge(registry: Registry, name: string, help: string, read: () => number): void {
  new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      this.set(read());
    },
  });
}
