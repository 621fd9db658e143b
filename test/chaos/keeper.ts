/**
 * Keeps the replicas running as an init system would, and notes each death and freeze: what was on the wire then is all that
 * may end in doubt because of it.
 */
import type { Sql } from "#services/core/database/client.ts";
import type { KillPoint } from "#services/platform/kill-points.ts";
import { eventually } from "../support/eventually.ts";
import { keyOf } from "./checker.ts";
import type { Cluster } from "./cluster.ts";

/** What a process is armed with when it starts; "" for nothing. */
export type Arm = (name: string) => string;

const LOOK_MS = 20;
/** A commit that a dead process had sent, or one whose connection was cut, can still be under way. */
const LATE_COMMIT_MS = [0, 200];
const LATE_AFTER_CUT_MS = [0, 200, 800, 2_000];

export class Keeper {
  /** Deaths by what died: a replica's service, a kill point, `nats`, `postgres`. */
  readonly kills = new Map<string, number>();
  /** Freezes at a kill point or by a fault. */
  freezes = 0;
  /** Kill points at which something died or froze. */
  readonly passed = new Set<string>();
  /** Claims that were open when a delivery process died or froze. */
  readonly openAtKills = new Set<string>();
  /** Claims that were open when delivery and Postgres had lost each other: a commit may have come through, its answer not. */
  readonly openAtCuts = new Set<string>();
  /** Processes that ended without having been killed, with what they said last. */
  readonly crashes: string[] = [];
  readonly #cluster: Cluster;
  readonly #arm: Arm;
  /** How long one that froze at a kill point stays so. */
  readonly #freezeMs: () => number;
  readonly #armedWith = new Map<string, string>();
  readonly #busy = new Map<string, Promise<void>>();
  #arming = true;
  #stopped = false;
  #loop: Promise<void>;

  /** `armed`: what the processes were armed with that run already. */
  constructor(
    cluster: Cluster,
    options: { arm: Arm; freezeMs: () => number; armed?: Readonly<Record<string, string>> },
  ) {
    this.#cluster = cluster;
    for (const [name, arm] of Object.entries(options.armed ?? {})) this.#armedWith.set(name, arm);
    this.#arm = options.arm;
    this.#freezeMs = options.freezeMs;
    this.#loop = this.#watch();
  }

  get killCount(): number {
    return [...this.kills.values()].reduce((sum, n) => sum + n, 0);
  }

  /** A death that the keeper cannot see: of a server, or one that it was told of. */
  count(what: string): void {
    this.kills.set(what, (this.kills.get(what) ?? 0) + 1);
  }

  /** Whether the replica runs and nobody is dealing with it. */
  isFree(name: string): boolean {
    return !this.#busy.has(name) && this.#cluster.life(name) === "running";
  }

  /** Kills a replica; it comes back by itself. */
  async kill(name: string): Promise<void> {
    await this.#exclusively(name, async () => {
      await this.#cluster.kill9(name);
      await this.#noteDeath(name, serviceOf(name));
      await this.#restart(name);
    });
  }

  /** Freezes a replica for a while. */
  async freeze(name: string, ms: number): Promise<void> {
    await this.#exclusively(name, async () => {
      this.#cluster.freeze(name);
      await this.#sitOut(name, ms);
    });
  }

  /** Asks a replica to finish, and starts it again. @returns its exit code. */
  async sigterm(name: string): Promise<number> {
    let code = -1;
    await this.#exclusively(name, async () => {
      code = await this.#cluster.sigterm(name);
      await this.#restart(name);
    });
    return code;
  }

  /** Starts no more armed processes, and replaces those that still are. */
  async disarm(): Promise<void> {
    this.#arming = false;
    await Promise.all(this.#busy.values());
    for (const name of this.#armedWith.keys()) await this.sigterm(name);
    this.#armedWith.clear();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#loop;
    await Promise.all(this.#busy.values());
  }

  async #watch(): Promise<void> {
    while (!this.#stopped) {
      for (const name of [...this.#cluster.deliveries, ...this.#cluster.broadcasts]) {
        if (this.#busy.has(name)) continue;
        const life = this.#cluster.life(name);
        if (life === "gone") void this.#exclusively(name, () => this.#afterDeath(name));
        if (life === "stopped") void this.#exclusively(name, () => this.#afterFreeze(name));
      }
      await Bun.sleep(LOOK_MS);
    }
  }

  async #exclusively(name: string, work: () => Promise<void>): Promise<void> {
    if (this.#busy.has(name)) return;
    const done = work().finally(() => this.#busy.delete(name));
    this.#busy.set(name, done);
    await done;
  }

  async #afterDeath(name: string): Promise<void> {
    const point = this.#armedWith.get(name);
    const output = this.#cluster.output(name);
    if (point === undefined || output.includes("nobody caught an error")) {
      this.crashes.push(`${name} ended by itself: ${output.slice(-2_000)}`);
    }
    const what = point?.split(":")[0] ?? "crash";
    this.passed.add(what);
    await this.#noteDeath(name, what);
    await this.#restart(name);
  }

  async #afterFreeze(name: string): Promise<void> {
    this.passed.add(this.#armedWith.get(name)?.split(":")[0] ?? "");
    await this.#sitOut(name, this.#freezeMs());
  }

  async #noteDeath(name: string, what: string | KillPoint): Promise<void> {
    this.count(what);
    this.#armedWith.delete(name);
    if (serviceOf(name) === "delivery") await noteOpenClaims(this.#cluster.sql, this.openAtKills, LATE_COMMIT_MS);
  }

  async #sitOut(name: string, ms: number): Promise<void> {
    this.freezes++;
    if (serviceOf(name) === "delivery") await noteOpenClaims(this.#cluster.sql, this.openAtKills, LATE_COMMIT_MS);
    await Bun.sleep(ms);
    this.#cluster.thaw(name);
  }

  /** To be called when connections between delivery and Postgres were cut. */
  async noteCut(): Promise<void> {
    await noteOpenClaims(this.#cluster.sql, this.openAtCuts, LATE_AFTER_CUT_MS);
  }

  /** Again and again, as long as something that it needs for its start is away, or it dies at its kill point before. */
  async #restart(name: string): Promise<void> {
    await eventually(
      async () => {
        const arm = this.#arming ? this.#arm(name) : "";
        if (arm !== "") this.#armedWith.set(name, arm);
        else this.#armedWith.delete(name);
        await this.#cluster.start(name, arm);
        return true;
      },
      { timeoutMs: 60_000 },
    );
  }
}

/** Adds the claims that are open now, and after each of these waits, in milliseconds. */
export async function noteOpenClaims(sql: Sql, into: Set<string>, waits: readonly number[]): Promise<void> {
  for (const waitMs of waits) {
    await Bun.sleep(waitMs);
    const rows = await eventually(
      async () => [
        ...(await sql<{ sourceId: number; leadId: number; entry: number }[]>`
          SELECT source_id AS "sourceId", lead_id AS "leadId", entry FROM send WHERE state = 1`),
      ],
      { timeoutMs: 60_000 },
    );
    for (const row of rows) into.add(keyOf(row));
  }
}

export function serviceOf(name: string): string {
  return name.replace(/-\d+$/, "");
}
