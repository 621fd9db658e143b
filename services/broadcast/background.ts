/** What a broadcast process does beside answering calls: the relay for its shards, samples of progress, cleaning up. */
import { randomUUID } from "node:crypto";
import type { NatsConnection } from "nats";
import type { Sql } from "#services/core/database/client.ts";
import type { DatabaseClock } from "#services/core/ledger/database-clock.ts";
import { decodeUnsent } from "#services/core/queue/jobs.ts";
import { decodeLowLanes, LOW_LANES_SUBJECT } from "#services/core/queue/low-lanes.ts";
import { publishJobs } from "#services/core/queue/publisher.ts";
import { ensureStream, type StreamOptions } from "#services/core/queue/streams.ts";
import { UNSENT_SUBJECTS } from "#services/core/queue/subjects.ts";
import { runRetention } from "#services/core/retention/retention.ts";
import { LeaseKeeper, LeaseRole } from "#services/core/shards/leases.ts";
import type { Clock } from "#services/platform/clock.ts";
import type { Logger } from "#services/platform/log.ts";
import type { ProgressMeter } from "./progress.ts";
import { Relay, type RelayOptions } from "./relay.ts";

export interface BackgroundOptions {
  sql: Sql;
  nc: NatsConnection;
  stream: StreamOptions;
  clock: Clock;
  databaseClock?: DatabaseClock;
  meter: ProgressMeter;
  log: Logger;
  relay?: Partial<Pick<RelayOptions, "tickMs" | "windowSeconds" | "maxWindow">>;
  lease?: { ttlMs?: number; tickMs?: number };
}

export interface Background {
  start(): void;
  /** Ends the tick under way and gives up the leases. Safe twice. */
  stop(): Promise<void>;
}

/** A stream that a publish has failed on is looked after no more often than this. */
const REPAIR_INTERVAL_MS = 250;

export async function createBackground(options: BackgroundOptions): Promise<Background> {
  const { sql, nc, stream, clock, databaseClock, meter, log } = options;
  const onError = (error: unknown) => log.error({ err: error }, "relay: will be tried again");
  const jsm = await nc.jetstreamManager();
  await ensureStream(jsm, stream);
  const leases = new LeaseKeeper({
    sql,
    clock,
    role: LeaseRole.relay,
    name: `relay-${randomUUID()}`,
    ...options.lease,
    onError,
  });
  const relay = new Relay({
    sql,
    clock,
    databaseClock,
    shards: () => [...leases.fences().keys()],
    publish: async (jobs) => {
      const outcome = await publishJobs(nc, jobs);
      if (outcome.failed.length > 0) {
        onError(outcome.error);
        await ensureStream(jsm, stream).catch(onError);
        await clock.sleep(REPAIR_INTERVAL_MS);
      }
      return outcome;
    },
    onError,
    ...options.relay,
  });
  const hints = [
    nc.subscribe(UNSENT_SUBJECTS, {
      callback: (error, message) => {
        if (!error) relay.unmark(decodeUnsent(message.data));
      },
    }),
    nc.subscribe(LOW_LANES_SUBJECT, {
      callback: (error, message) => {
        if (!error) relay.low(decodeLowLanes(message.data));
      },
    }),
  ];
  const stopping = new AbortController();
  const loops: Promise<void>[] = [];
  let stopped: Promise<void> | undefined;

  async function stopAll(): Promise<void> {
    stopping.abort();
    for (const hint of hints) hint.unsubscribe();
    await Promise.all(loops);
    await leases.stop();
  }

  return {
    start: () => {
      leases.start();
      loops.push(
        relay.run(stopping.signal),
        meter.run(stopping.signal, onError),
        runRetention({ sql, clock, onError }, stopping.signal),
      );
    },
    stop: () => {
      stopped ??= stopAll();
      return stopped;
    },
  };
}
