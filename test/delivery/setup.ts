import { startBroadcast } from "#services/broadcast/life-cycle.ts";
import type { Sql } from "#services/core/database/client.ts";
import type { SendJob } from "#services/core/ledger/claim.ts";
import { Holds } from "#services/delivery/holds.ts";
import { KnownStreaks } from "#services/delivery/known-streaks.ts";
import type { Outcome } from "#services/delivery/outcome.ts";
import { Probes } from "#services/delivery/probes.ts";
import { Settler } from "#services/delivery/settler.ts";
import { type BotApi, createBotApi } from "#services/delivery/telegram.ts";
import { TokenChecks } from "#services/delivery/token-checks.ts";
import { Worker, type WorkerOptions } from "#services/delivery/worker.ts";
import type { Settings } from "#services/local/sandbox/settings.ts";
import { systemClock } from "#services/platform/clock.ts";
import { startSandbox, tokenOf } from "#test/local/sandbox/support.ts";
import { eventually } from "../support/eventually.ts";
import { createTestDatabase } from "../support/postgres.ts";
import { allLeases, createWorld, type WorldOptions } from "../support/world.ts";

export interface WorkerWorldOptions extends WorldOptions {
  sandbox?: Partial<Settings>;
  worker?: Partial<WorkerOptions>;
  /** The client of claims and settles; default the database's. */
  wrap?: (sql: Sql) => Sql;
  timeoutMs?: number;
}

/** Lifts a bot's pace. */
export const unlimited = () => Number.POSITIVE_INFINITY;

/** A worker on a real Postgres and a sandbox Bot API, whose shards are all leased; jobs are offered by the test. */
export async function setupWorker(options: WorkerWorldOptions = {}) {
  const { timeoutMs = 10_000, wrap = (sql: Sql) => sql } = options;
  const database = await createTestDatabase();
  const world = await createWorld(database.sql, options);
  const sandbox = await startSandbox(options.sandbox);
  const botApi = createBotApi({ apiRoot: sandbox.sandbox.url, timeoutMs });
  const writtenAt: number[] = [];
  const api: BotApi = {
    ...botApi,
    send: (...args) => {
      writtenAt.push(performance.now());
      return botApi.send(...args);
    },
  };
  const sql = wrap(database.sql);
  const errors: unknown[] = [];
  const acked: SendJob[] = [];
  const unsent: SendJob[] = [];
  const outcomes: Outcome["outcome"][] = [];
  const onError = (error: unknown) => void errors.push(error);
  const lease = { held: true, open: true };
  // A token that is stored as itself; the others are the sandbox's for that bot.
  const openToken = (botId: number, sealed: string) => (sealed === "sealed" ? tokenOf(botId) : sealed);
  const streaks = new KnownStreaks();
  const settler = new Settler({
    sql,
    clock: systemClock,
    onError,
    streaks,
    onStreaks: (change) => {
      for (const [botId, what] of change) what === "held" ? worker.hold(botId) : worker.release(botId);
    },
  });
  const holds = new Holds({ sql: database.sql, clock: systemClock, onError });
  const probes = new Probes({
    sql: database.sql,
    clock: systemClock,
    openToken: (botId, sealed) => (options.worker?.openToken ?? openToken)(botId, sealed),
    getMe: api.getMe,
    shards: () => [...allLeases.keys()],
    tryJob: (job) => worker.tryJob(job),
    onStanding: (held, limited, readAtMs) => worker.follow(held, limited, readAtMs),
    onLifted: (botId) => worker.release(botId),
    streaks,
    onError,
  });
  const worker: Worker = new Worker({
    sql,
    clock: systemClock,
    leases: { fences: () => new Map(allLeases), holds: () => lease.held },
    isOpen: () => lease.open,
    api,
    settler,
    holds,
    openToken,
    tokenChecks: new TokenChecks({ clock: systemClock, getMe: api.getMe }),
    rescueMs: { text: timeoutMs + 5_000, media: 65_000 },
    onUnsent: (jobs) => void unsent.push(...jobs),
    onError,
    onOutcome: (outcome) => void outcomes.push(outcome),
    limitOf: unlimited,
    chatIntervalMs: 0,
    ...options.worker,
  });
  const probing = new AbortController();
  worker.start();

  return {
    ...world,
    sandbox,
    control: sandbox.control,
    /** When each request was written. */
    writtenAt,
    worker,
    settler,
    holds,
    lease,
    errors,
    acked,
    unsent,
    outcomes,
    offer: (jobs: readonly SendJob[]) => {
      for (const job of jobs) worker.offer(job, () => void acked.push(job));
    },
    /** Starts a broadcast to all leads. @returns its id. */
    start: async (fields: Parameters<typeof world.addBroadcast>[0] = {}) => {
      const id = await world.addBroadcast(fields);
      await startBroadcast(database.sql, world.accountId, id);
      return id;
    },
    /** Begins to look after holds. */
    probe: () => void probes.run(probing.signal),
    lane: async (botId: number) => {
      const [row] = await database.sql<{ reason: number; message: string; until: Date | null }[]>`
        SELECT reason, message, hold_until AS until FROM lane WHERE bot_id = ${botId}`;
      return row;
    },
    [Symbol.asyncDispose]: async () => {
      probing.abort();
      lease.held = true;
      await worker.stop();
      await sandbox.sandbox.stop();
      await database.drop();
    },
  };
}

export type WorkerWorld = Awaited<ReturnType<typeof setupWorker>>;

/** Offers everything that is queued, until nothing of the broadcast is queued or on the wire. */
export async function sendAll(world: WorkerWorld, id: number): Promise<void> {
  await eventually(async () => {
    world.offer(await world.jobs(id));
    await world.settler.flush();
    const { queued, sending } = await world.counters(id);
    return queued + sending === 0;
  });
}

/** The states of its rows, by lead. */
export async function statesOf(world: WorkerWorld, id: number): Promise<number[]> {
  return (await world.rows(id)).map((row) => row.state);
}
