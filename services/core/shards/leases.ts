/**
 * Which shards this replica works on. A shard is leased to one replica of a role at a time, by a row in Postgres:
 *
 * ```
 *   free or expired ──acquire (fence + 1)──► held ──renew──► held ──release or expiry──► free
 * ```
 *
 * Invariants:
 * 1. `fence` rises with every change of owner, and a claim is made under the fence that its replica was told; so a replica
 *    that slept through its expiry claims nothing.
 * 2. A replica believes in its lease only until a local deadline, counted on its own monotonic clock from before the
 *    renewal was asked for: it stops before Postgres lets anybody else in, however slow the answer was.
 * 3. Each of n live replicas holds at most ⌈shards / n⌉: one that joins gets its share when the others give up what they
 *    have too much of, and that handover settles first.
 */
import type { Sql } from "#services/core/database/client.ts";
import { SHARD_COUNT } from "#services/core/ledger/send.ts";
import type { Clock } from "#services/platform/clock.ts";

export const LeaseRole = { relay: 1, delivery: 2 } as const;
export type LeaseRole = (typeof LeaseRole)[keyof typeof LeaseRole];

export interface LeaseKeeperOptions {
  sql: Sql;
  role: LeaseRole;
  /** Unique among all replicas that ever were. */
  name: string;
  clock: Clock;
  /** How long a lease outlives its last renewal. A crash is noticed after this and a tick. Default 4,000. */
  ttlMs?: number;
  /** Between renewals. Default 500. */
  tickMs?: number;
  /** Called with shards to work on from now on. */
  onAcquired?: (shards: number[]) => void;
  /** Called with shards that are lost without warning: stop at once. */
  onLost?: (shards: number[]) => void;
  /**
   * Called before shards are given up: finish and settle what is on the wire. The lease is still held meanwhile. Where it
   * fails the shards are kept, and told to `onAcquired` again.
   */
  drain?: (shards: number[]) => Promise<void>;
  onError?: (error: unknown) => void;
}

interface Held {
  fence: number;
  deadlineMs: number;
}

export class LeaseKeeper {
  readonly #options: Required<Pick<LeaseKeeperOptions, "ttlMs" | "tickMs">> & LeaseKeeperOptions;
  readonly #held = new Map<number, Held>();
  readonly #draining = new Set<number>();
  readonly #stopping = new AbortController();
  #loop: Promise<void> | undefined;

  constructor(options: LeaseKeeperOptions) {
    this.#options = { ttlMs: 4_000, tickMs: 500, ...options };
  }

  /** Fences of the shards that may be worked on at this moment, by shard. */
  fences(): Map<number, number> {
    const now = this.#options.clock.monotonicMs();
    return new Map(
      [...this.#held].filter(([, held]) => held.deadlineMs > now).map(([shard, { fence }]) => [shard, fence]),
    );
  }

  /**
   * Whether the shard may be worked on at this moment, and for `forMs` from now without another renewal: to be asked right
   * before a request is written.
   */
  holds(shard: number, forMs = 0): boolean {
    const held = this.#held.get(shard);
    return held !== undefined && held.deadlineMs > this.#options.clock.monotonicMs() + forMs;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  /** Drains and gives up all shards. Safe twice and before start. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
    await this.#drainAll();
    this.#held.clear();
    await this.#retire().catch((error) => this.#options.onError?.(error));
  }

  /** Renews meanwhile: what is on the wire may take longer than a lease, and nobody else may begin before it is settled. */
  async #drainAll(): Promise<void> {
    const { clock, tickMs, drain, onError } = this.#options;
    const drained = new AbortController();
    const draining = Promise.resolve(drain?.([...this.#held.keys()]))
      .catch((error) => onError?.(error))
      .finally(() => drained.abort());
    while (!drained.signal.aborted && this.#held.size > 0) {
      await this.#renew().catch((error) => onError?.(error));
      this.#dropOverdue();
      await clock.sleep(tickMs, drained.signal);
    }
    await draining;
  }

  async #run(): Promise<void> {
    const { clock, tickMs, onError } = this.#options;
    while (!this.#stopping.signal.aborted) {
      await this.tick().catch((error) => onError?.(error));
      this.#dropOverdue();
      await clock.sleep(tickMs, this.#stopping.signal);
    }
  }

  /** One round: say that we live, renew, then take or give up shards. */
  async tick(): Promise<void> {
    const live = await this.#announce();
    await this.#renew();
    const share = Math.ceil(SHARD_COUNT / Math.max(1, live));
    const kept = [...this.#held.keys()].filter((shard) => !this.#draining.has(shard)).length;
    const surplus = kept - share;
    if (surplus > 0) this.#giveUp(surplus);
    else if (surplus < 0) await this.#acquire(-surplus);
  }

  /** @returns how many replicas of the role live, this one included. */
  async #announce(): Promise<number> {
    const { sql, role, name, ttlMs } = this.#options;
    await sql`
      INSERT INTO replica (role, name, expires_at) VALUES (${role}, ${name}, clock_timestamp() + ${ttlMs} * interval '1 ms')
      ON CONFLICT (role, name) DO UPDATE SET expires_at = excluded.expires_at`;
    await sql`DELETE FROM replica WHERE role = ${role} AND expires_at < clock_timestamp()`;
    const [row] = await sql<{ live: number }[]>`SELECT count(*) AS live FROM replica WHERE role = ${role}`;
    return row!.live;
  }

  async #renew(): Promise<void> {
    const { sql, role, name, ttlMs, clock } = this.#options;
    const askedAt = clock.monotonicMs();
    const leaving = new Set(this.#draining);
    const rows = await sql<{ shard: number; fence: number }[]>`
      UPDATE shard_lease SET expires_at = clock_timestamp() + ${ttlMs} * interval '1 ms'
      WHERE role = ${role} AND owner = ${name} RETURNING shard, fence`;
    const renewed = new Set(rows.map((row) => row.shard));
    this.#lose([...this.#held.keys()].filter((shard) => !renewed.has(shard)));
    this.#hold(
      // One whose handover ended while we asked is ours no more, whatever the answer says; and who stops begins nothing.
      rows.filter(({ shard }) => this.#held.has(shard) || !(leaving.has(shard) || this.#stopping.signal.aborted)),
      askedAt + ttlMs,
    );
  }

  async #acquire(wanted: number): Promise<void> {
    const { sql, role, name, ttlMs, clock } = this.#options;
    await sql`
      INSERT INTO shard_lease (role, shard) SELECT ${role}::smallint, generate_series(0, ${SHARD_COUNT - 1})
      ON CONFLICT DO NOTHING`;
    const askedAt = clock.monotonicMs();
    const rows = await sql<{ shard: number; fence: number }[]>`
      WITH k AS (
        SELECT shard FROM shard_lease
        WHERE role = ${role} AND shard < ${SHARD_COUNT} AND (owner IS NULL OR expires_at < clock_timestamp())
        ORDER BY shard LIMIT ${wanted} FOR UPDATE SKIP LOCKED)
      UPDATE shard_lease l SET owner = ${name}, fence = l.fence + 1, expires_at = clock_timestamp() + ${ttlMs} * interval '1 ms'
      FROM k
      WHERE l.role = ${role} AND l.shard = k.shard RETURNING l.shard, l.fence`;
    this.#hold(rows, askedAt + ttlMs);
  }

  #hold(found: { shard: number; fence: number }[], deadlineMs: number): void {
    // One that has just been drained is ours in Postgres for a moment longer, and must not be begun again.
    const rows = found.filter(({ shard }) => this.#held.has(shard) || !this.#draining.has(shard));
    const fresh = rows.filter(({ shard, fence }) => this.#held.get(shard)?.fence !== fence).map((row) => row.shard);
    for (const { shard, fence } of rows) this.#held.set(shard, { fence, deadlineMs });
    if (fresh.length > 0) this.#options.onAcquired?.(fresh);
  }

  #lose(shards: number[]): void {
    for (const shard of shards) this.#held.delete(shard);
    if (shards.length > 0) this.#options.onLost?.(shards);
  }

  /** Postgres did not answer in time: what may belong to somebody else by now is let go of. */
  #dropOverdue(): void {
    const now = this.#options.clock.monotonicMs();
    this.#lose([...this.#held].filter(([, held]) => held.deadlineMs <= now).map(([shard]) => shard));
  }

  /** Gives up the highest shards, in the background: renewals go on while they drain. */
  #giveUp(surplus: number): void {
    const shards = [...this.#held.keys()]
      .filter((shard) => !this.#draining.has(shard))
      .sort((a, b) => b - a)
      .slice(0, surplus);
    for (const shard of shards) this.#draining.add(shard);
    void this.#handOver(shards);
  }

  /**
   * What could not be drained is not given away: its row stays ours, and so the next renewal finds it and begins it anew.
   */
  async #handOver(shards: number[]): Promise<void> {
    const { drain, onError } = this.#options;
    const drained = await Promise.resolve(drain?.(shards)).then(
      () => true,
      (error) => {
        onError?.(error);
        return false;
      },
    );
    for (const shard of shards) this.#held.delete(shard);
    if (drained) await this.#free(shards).catch((error) => onError?.(error));
    for (const shard of shards) this.#draining.delete(shard);
  }

  async #free(shards: number[]): Promise<void> {
    const { sql, role, name } = this.#options;
    await sql`
      UPDATE shard_lease SET owner = NULL, expires_at = NULL
      WHERE role = ${role} AND owner = ${name} AND shard = ANY(${shards}::smallint[])`;
  }

  async #retire(): Promise<void> {
    const { sql, role, name } = this.#options;
    await sql`UPDATE shard_lease SET owner = NULL, expires_at = NULL WHERE role = ${role} AND owner = ${name}`;
    await sql`DELETE FROM replica WHERE role = ${role} AND name = ${name}`;
  }
}
