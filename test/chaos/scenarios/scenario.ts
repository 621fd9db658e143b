/** What every named scenario is, and what they have in common: a system, a customer with bots, and the sandbox's record. */
import type { Settings } from "#services/local/sandbox/settings.ts";
import { check, type Figures, keepDeletedRows } from "../checker.ts";
import { type Cluster, type ClusterOptions, startCluster } from "../cluster.ts";
import { createOwner, type Owner, type OwnerOptions, Tags } from "../owner.ts";

export interface ScenarioOptions {
  seed: number;
  /** One of the scenario's variants. */
  variant: string;
  /** A few seconds, as the tests run it: smaller, and on a Postgres that may forget. */
  short: boolean;
}

export interface ScenarioReport {
  /** By what they count, in the order in which they are to be read. */
  figures: Record<string, number>;
  /** What contradicts a promise, one sentence each. */
  violations: string[];
  /** More lines to print below the run's own. */
  details?: string[];
}

export interface Scenario {
  /** Each is a run of its own. */
  variants: readonly string[];
  run(options: ScenarioOptions): Promise<ScenarioReport>;
}

export interface World {
  cluster: Cluster;
  owner: Owner;
  tags: Tags;
}

export interface WorldOptions {
  cluster: Omit<ClusterOptions, "ownPostgres">;
  owner: Omit<OwnerOptions, "firstChat" | "dailyCap"> & { dailyCap?: number };
  sandbox: Partial<Settings>;
  /** How long each answer of the Bot API takes. */
  latencyMs: readonly [number, number];
}

/** Delivery calls the sandbox itself: a proxy between them would add its own jitter to what arrives. */
export function withoutProxy(name: string, urlOf: (name: string) => string | undefined): Record<string, string> {
  const sandbox = urlOf("sandbox");
  return name.startsWith("delivery") && sandbox !== undefined ? { TELEGRAM_API_ROOT: sandbox } : {};
}

/** The same latencies for the same seed, as far as calls come in the same order. */
export async function inWorld<T>(
  { seed, short }: ScenarioOptions,
  options: WorldOptions,
  work: (world: World) => Promise<T>,
): Promise<T> {
  const cluster = await startCluster({ ...options.cluster, ownPostgres: !short });
  try {
    await keepDeletedRows(cluster.sql);
    await cluster.sandbox.configure(options.sandbox);
    await cluster.sandbox.script({ method: "*", answer: { latencyMs: options.latencyMs }, seed });
    const tags = new Tags();
    const owner = await createOwner(cluster, tags, { dailyCap: 0, ...options.owner, firstChat: 1 });
    return await work({ cluster, owner, tags });
  } finally {
    await cluster.stop();
  }
}

/** Bots of as many different shards, spread over all of them, so that every replica has some. */
export function spreadBotIds(count: number): number[] {
  return Array.from({ length: count }, (_, i) => Math.floor((i * 32) / count) + 1);
}

/** The checker's verdict, for worlds in which nothing but `openAtKills` was on the wire when something fell. */
export async function checkWorld(
  { cluster, tags }: World,
  openAtKills: ReadonlySet<string> = new Set(),
): Promise<{ figures: Figures; violations: string[] }> {
  const { sql, sandbox } = cluster;
  return await check({ sql, sandbox, tags: tags.sources, openAtKills, openAtCuts: new Set() });
}

/** Rarely: whoever asks takes the sandbox's time, and what arrives meanwhile is stamped late. */
const LOOK_MS = 200;

/** Resolves when each of these bots has had that many messages accepted. */
export async function untilAccepted(
  { sandbox }: Cluster,
  bots: readonly { sandboxId: number }[],
  count: number,
  timeoutMs = 60_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const accepted = new Map((await sandbox.bots()).map((report) => [report.bot, report.accepted]));
    const behind = bots.filter(({ sandboxId }) => (accepted.get(sandboxId) ?? 0) < count);
    if (behind.length === 0) return;
    if (performance.now() > deadline)
      throw new Error(`${behind.length} bots had not sent ${count} in ${timeoutMs} ms.`);
    await Bun.sleep(LOOK_MS);
  }
}

/** The most sends of one bot that arrived within any second, and how many calls were answered 429. */
export async function paceFigures({ sandbox }: Cluster): Promise<{ busiestSecond: number; tooMany: number }> {
  const reports = await sandbox.bots();
  const { refusedByKind } = await sandbox.totals();
  return {
    busiestSecond: Math.max(0, ...reports.map(({ busiestSecond }) => busiestSecond.arrived)),
    tooMany: (refusedByKind.limit_bot ?? 0) + (refusedByKind.limit_chat ?? 0) + (refusedByKind.limit_held ?? 0),
  };
}

/** When calls were answered 429, in milliseconds since that moment of the wall clock; negative before it. */
export async function tooManyAfter({ sandbox }: Cluster, sinceMs: number): Promise<number[]> {
  const toMs = await stampsSince(sandbox, sinceMs);
  const refusals = (await sandbox.refusals()).filter(({ status }) => status === 429);
  return refusals.map(({ arrived_ms }) => Math.round(toMs(arrived_ms)));
}

/** When sends of each bot arrived, accepted or not, in order and in milliseconds since that moment of the wall clock. */
export async function arrivalsByBot({ sandbox }: Cluster, sinceMs: number): Promise<Map<number, number[]>> {
  const toMs = await stampsSince(sandbox, sinceMs);
  const calls = [...(await sandbox.messages({ limit: 100_000 })), ...(await sandbox.refusals())];
  const byBot = Map.groupBy(
    calls.filter(({ method }) => method.startsWith("send")),
    ({ bot }) => bot,
  );
  return new Map(
    [...byBot].map(([bot, of]) => [bot, of.map(({ arrived_ms }) => toMs(arrived_ms)).sort((a, b) => a - b)]),
  );
}

/** The sandbox stamps arrivals by a clock of its own; a message has both its stamp and the wall's. */
async function stampsSince(sandbox: Cluster["sandbox"], sinceMs: number): Promise<(arrivedMs: number) => number> {
  const [message] = await sandbox.messages({ limit: 1 });
  const offsetMs = message === undefined ? 0 : message.wall_ms - message.arrived_ms;
  return (arrivedMs) => arrivedMs + offsetMs - sinceMs;
}

/** Rounded for printing. */
export function rounded(value: number, digits = 2): number {
  return Number(value.toFixed(digits));
}
