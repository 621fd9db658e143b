import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { checkTransition, NO_ROW, SendState, type SendVerb, SHARD_COUNT, shardOf } from "./send.ts";

/** The slot of life-cycle calls, imports and erasures; every other slot is a shard's. */
const LIFE_CYCLE_SLOT = -1;

/** The columns of `send_counter` that move. `queued` is derived: what is enqueued and in none of the others. */
export interface CounterDelta {
  enqueued: number;
  sending: number;
  sent: number;
  failed: number;
  unconfirmed: number;
  dropped: number;
}

const COLUMN_OF_STATE = {
  [SendState.queued]: undefined,
  [SendState.sending]: "sending",
  [SendState.sent]: "sent",
  [SendState.failed]: "failed",
  [SendState.unconfirmed]: "unconfirmed",
  [SendState.dropped]: "dropped",
} as const satisfies Record<SendState, keyof CounterDelta | undefined>;

/** Whose row it is. */
export interface CountedSend {
  sourceId: number;
  botId: number;
}

/** What a Start has put into the queue. */
export interface Enqueued {
  enqueued: number;
  /** Of those, the ones that counted as failed or dropped before; the others are new. */
  failed: number;
  dropped: number;
}

/**
 * Adds up moves between states, each by the verb that made it, to be written in one statement at the end of their
 * transaction. A move that the table of send.ts does not have is refused.
 *
 * Only the sum over a source's slots says anything. What a replica moves in one transaction goes to one of its shards: other
 * replicas hold other shards and write to other rows, and thirty-two rows a transaction would cost as much as its sends. What
 * the owner's calls move goes to a slot of its own.
 */
export class CounterDeltas {
  readonly #rows = new Map<string, { sourceId: number; slot: number; delta: CounterDelta }>();
  readonly #moved = new Map<number, CounterDelta>();
  #slot = SHARD_COUNT;

  /** Sends of a bot moved from one state to another. */
  move(verb: SendVerb, { sourceId, botId }: CountedSend, from: SendState, to: SendState, leads = 1): void {
    checkTransition(verb, from, to);
    this.#slot = Math.min(this.#slot, shardOf(botId));
    const delta = this.#moved.get(sourceId) ?? emptyDelta();
    this.#moved.set(sourceId, delta);
    const left = COLUMN_OF_STATE[from];
    const entered = COLUMN_OF_STATE[to];
    if (left) delta[left] -= leads;
    if (entered) delta[entered] += leads;
  }

  /** A Start put leads into the queue. */
  enqueue(sourceId: number, { enqueued, failed, dropped }: Enqueued): void {
    const delta = this.#of(sourceId, LIFE_CYCLE_SLOT);
    delta.enqueued += enqueued - failed - dropped;
    delta.failed -= failed;
    delta.dropped -= dropped;
  }

  /** Entries into a status have got their follow-ups. */
  schedule(sourceId: number, leads: number): void {
    this.#of(sourceId, LIFE_CYCLE_SLOT).enqueued += leads;
  }

  /** Leads count as dropped without a look at their bots: those of a run that is closed, or of a person who is erased. */
  drop(sourceId: number, leads: number): void {
    this.#of(sourceId, LIFE_CYCLE_SLOT).dropped += leads;
  }

  /** A row is deleted: it counts as enqueued no more. */
  prune(send: CountedSend, state: SendState): void {
    checkTransition("prune", state, NO_ROW);
    const delta = this.#of(send.sourceId, shardOf(send.botId));
    const left = COLUMN_OF_STATE[state];
    if (left) delta[left] -= 1;
    delta.enqueued -= 1;
  }

  #of(sourceId: number, slot: number): CounterDelta {
    const key = `${sourceId}:${slot}`;
    const known = this.#rows.get(key);
    if (known) return known.delta;
    const delta = emptyDelta();
    this.#rows.set(key, { sourceId, slot, delta });
    return delta;
  }

  /** Sorted by key, so that two transactions take the rows' locks in the same order. */
  async write(tx: TransactionSql): Promise<void> {
    for (const [sourceId, moved] of this.#moved) addTo(this.#of(sourceId, this.#slot), moved);
    this.#moved.clear();
    const rows = [...this.#rows.values()]
      .filter(({ delta }) => Object.values(delta).some((n) => n !== 0))
      .sort((a, b) => a.sourceId - b.sourceId || a.slot - b.slot);
    if (rows.length === 0) return;
    const column = (name: keyof CounterDelta) => rows.map((row) => row.delta[name]);
    await tx`
      INSERT INTO send_counter AS c (source_id, slot, enqueued, sending, sent, failed, unconfirmed, dropped)
      SELECT * FROM unnest(${rows.map((row) => row.sourceId)}::bigint[], ${rows.map((row) => row.slot)}::smallint[],
        ${column("enqueued")}::bigint[], ${column("sending")}::bigint[], ${column("sent")}::bigint[],
        ${column("failed")}::bigint[], ${column("unconfirmed")}::bigint[], ${column("dropped")}::bigint[])
      ON CONFLICT (source_id, slot) DO UPDATE SET
        enqueued = c.enqueued + excluded.enqueued, sending = c.sending + excluded.sending,
        sent = c.sent + excluded.sent, failed = c.failed + excluded.failed,
        unconfirmed = c.unconfirmed + excluded.unconfirmed, dropped = c.dropped + excluded.dropped`;
  }
}

function emptyDelta(): CounterDelta {
  return { enqueued: 0, sending: 0, sent: 0, failed: 0, unconfirmed: 0, dropped: 0 };
}

function addTo(delta: CounterDelta, moved: CounterDelta): void {
  for (const column of Object.keys(moved) as (keyof CounterDelta)[]) delta[column] += moved[column];
}

/** Where the leads of one source stand. `queued` waits, `sending` is on the wire; together with the rest: `enqueued`. */
export interface Counters extends CounterDelta {
  sourceId: number;
  queued: number;
}

/** Sums over the slots. A source that was never written to has zeroes. */
export async function readCounters(sql: Sql | TransactionSql, sourceIds: number[]): Promise<Map<number, Counters>> {
  const rows = await sql<Counters[]>`
    SELECT k AS "sourceId", coalesce(sum(enqueued), 0)::bigint AS enqueued, coalesce(sum(sending), 0)::bigint AS sending,
      coalesce(sum(sent), 0)::bigint AS sent, coalesce(sum(failed), 0)::bigint AS failed,
      coalesce(sum(unconfirmed), 0)::bigint AS unconfirmed, coalesce(sum(dropped), 0)::bigint AS dropped,
      coalesce(sum(enqueued - sending - sent - failed - unconfirmed - dropped), 0)::bigint AS queued
    FROM unnest(${sourceIds}::bigint[]) AS k LEFT JOIN send_counter ON source_id = k GROUP BY k`;
  return new Map(rows.map((row) => [row.sourceId, row]));
}
