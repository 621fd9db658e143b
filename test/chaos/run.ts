/** One random run: broadcasts and follow-ups under faults, until enough has been killed and everything is at rest. */
import { Actor } from "./actor.ts";
import { scriptAnswers } from "./answers.ts";
import { check, keepDeletedRows, type Verdict } from "./checker.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import { armFromSeed, cause, planFaults } from "./faults.ts";
import { createForger } from "./forger.ts";
import { Keeper } from "./keeper.ts";
import { createOwner, Tags } from "./owner.ts";
import { createRandom } from "./random.ts";
import { untilRest } from "./rest.ts";

export interface RunOptions {
  seed: number;
  /** The run goes on until that many were killed. */
  kills: number;
  /** Of the main broadcast, over all bots. */
  leads: number;
  bots: number;
  messagesPerSecond: number;
  delivery: number;
  broadcast: number;
  /** Between two faults, at most. */
  maxIntervalMs: number;
  /** A Postgres of the run's own, which is killed as well. */
  ownPostgres: boolean;
  say: (line: string) => void;
}

export interface RunReport extends Verdict {
  seed: number;
  kills: Record<string, number>;
  killCount: number;
  freezes: number;
  faults: Record<string, number>;
  actions: Record<string, number>;
  seconds: number;
  refusals: Record<string, number>;
}

const REST_TIMEOUT_MS = 120_000;
const CAP = 200;

export async function runOnce(options: RunOptions): Promise<RunReport> {
  const startedAt = performance.now();
  const clocks = createRandom(options.seed, "clocks");
  const clockJumpMs = (name: string) =>
    /^(delivery|broadcast)-/.test(name) && clocks.chance(0.2) ? clocks.pick([-3_600_000, 3_600_000]) : 0;
  const cluster = await startCluster({ ...options, clockJumpMs });
  try {
    return await new Run(cluster, options).run(startedAt);
  } finally {
    await cluster.stop();
  }
}

class Run {
  readonly #cluster: Cluster;
  readonly #options: RunOptions;
  readonly #tags = new Tags();
  readonly #faults = new Map<string, number>();

  constructor(cluster: Cluster, options: RunOptions) {
    this.#cluster = cluster;
    this.#options = options;
  }

  async run(startedAt: number): Promise<RunReport> {
    const { seed, say } = this.#options;
    await keepDeletedRows(this.#cluster.sql);
    const { owner, capped } = await this.#createOwners();
    const chats = [...owner.bots, ...capped.bots].flatMap((bot) => bot.chats);
    await scriptAnswers(this.#cluster.sandbox, createRandom(seed, "answers"), chats, [10, 60]);
    const quiet = owner.bots.slice(-2);
    await owner.openBlock(quiet[0]!, 1);
    const main = await owner.createBroadcast();
    const limited = await capped.createBroadcast();
    await capped.start(limited);
    await owner.start(main);
    const actor = new Actor({
      cluster: this.#cluster,
      owner,
      random: createRandom(seed, "actor"),
      scope: quiet,
      followUps: quiet[0]!,
      main,
    });
    const keeper = new Keeper(this.#cluster, { arm: armFromSeed(seed), freezeMs: () => 5_000 });
    const forger = await createForger(this.#cluster, createRandom(seed, "forger"));
    actor.start();
    await this.#causeFaults(keeper, forger);
    say(`seed ${seed}: ${keeper.killCount} kills; waiting for rest`);
    await actor.stop();
    await keeper.disarm();
    const rested = await this.#untilRest(() => actor.settle());
    await forger.stop();
    await keeper.stop();
    const verdict = await check({
      sql: this.#cluster.sql,
      sandbox: this.#cluster.sandbox,
      tags: this.#tags.sources,
      openAtKills: keeper.openAtKills,
      openAtCuts: keeper.openAtCuts,
    });
    if (!rested) verdict.violations.unshift(`Not at rest ${REST_TIMEOUT_MS / 1000} s after the last fault.`);
    verdict.violations.push(...actor.violations, ...keeper.crashes);
    return {
      seed,
      ...verdict,
      kills: Object.fromEntries(keeper.kills),
      killCount: keeper.killCount,
      freezes: keeper.freezes,
      faults: Object.fromEntries(this.#faults),
      actions: Object.fromEntries(actor.counts),
      seconds: Math.round((performance.now() - startedAt) / 1000),
      refusals: (await this.#cluster.sandbox.totals()).refusedByKind,
    };
  }

  async #createOwners() {
    const { bots, leads, messagesPerSecond } = this.#options;
    const leadsPerBot = Math.ceil(leads / bots);
    const botIds = Array.from({ length: bots }, (_, i) => i + 1);
    const owner = await createOwner(this.#cluster, this.#tags, {
      botIds,
      leadsPerBot,
      messagesPerSecond,
      dailyCap: 0,
      firstChat: 1,
    });
    const capped = await createOwner(this.#cluster, this.#tags, {
      botIds: [bots + 1],
      leadsPerBot: CAP * 2,
      messagesPerSecond: 20,
      dailyCap: CAP,
      firstChat: 10_000_000,
    });
    return { owner, capped };
  }

  /** Faults overlap: the next one does not wait until the last is over. */
  async #causeFaults(keeper: Keeper, forger: { disturb(): Promise<void> }): Promise<void> {
    const { seed, kills, maxIntervalMs, ownPostgres } = this.#options;
    const under = new Set<Promise<void>>();
    let servers: Promise<void> = Promise.resolve();
    for (const { afterMs, fault } of planFaults(seed, { maxIntervalMs, postgres: ownPostgres })) {
      if (keeper.killCount >= kills) break;
      await Bun.sleep(afterMs);
      this.#faults.set(fault.fault, (this.#faults.get(fault.fault) ?? 0) + 1);
      // One server at a time is down: the next one waits.
      const isServer = ["killNats", "wipeNats", "killBackend", "killPostgres", "refuse"].includes(fault.fault);
      if (isServer) {
        await servers;
        servers = cause(fault, this.#cluster, keeper);
      }
      const over = (isServer ? servers : cause(fault, this.#cluster, keeper)).finally(() => under.delete(over));
      under.add(over);
      await forger.disturb();
    }
    await Promise.all(under);
    for (const proxy of Object.values(this.#cluster.proxies)) proxy.heal();
  }

  /** Nothing on the wire, nothing queued but what the cap holds back, and every broadcast ended. */
  async #untilRest(settled: () => Promise<boolean>): Promise<boolean> {
    const { sql } = this.#cluster;
    const ended = async () => {
      if (!(await settled())) return false;
      const [row] = await sql<{ followUps: number }[]>`
        SELECT count(*)::int AS "followUps" FROM send WHERE state = 0 AND kind = 2`;
      const [cap] = await sql<{ reached: boolean }[]>`
        SELECT coalesce(bool_and(q.used >= t.daily_cap), false) AS reached FROM account a
        JOIN tariff t ON t.id = a.tariff_id AND t.daily_cap > 0 LEFT JOIN quota_day q ON q.account_id = a.id`;
      return row!.followUps === 0 && cap!.reached;
    };
    return await untilRest(this.#cluster, ended, { timeoutMs: REST_TIMEOUT_MS });
  }
}
