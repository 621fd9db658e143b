/**
 * Conditions that several statements must agree on, each as one fragment of SQL. A fragment names the tables it looks
 * at by fixed aliases: `s` for send, `a` for account, `l` for lead, `c` for campaign. States and kinds are literals:
 * a plan that is made for any state cannot use an index of some.
 */
import type { Fragment, Queryable } from "#services/core/database/client.ts";
import { SendKind, SendState } from "./send.ts";
import { CampaignState } from "./source.ts";

/** A number that stands in the statement itself, for a plan that uses a partial index. */
export function literal(sql: Queryable, number: number): Fragment {
  return sql.unsafe(String(number)) as Fragment;
}

/** Postgres' time, which decides; see database-clock.ts. */
export function nowBy(sql: Queryable, offsetMs: number): Fragment {
  return sql`(now() + ${offsetMs}::float8 * interval '1 ms')`;
}

/** The UTC day of that time, whose quota counts. */
export function todayBy(sql: Queryable, offsetMs: number): Fragment {
  return sql`(${nowBy(sql, offsetMs)} AT TIME ZONE 'utc')::date`;
}

/** Whether an account's subscription is paid. */
export function isPaid(sql: Queryable, offsetMs: number): Fragment {
  return sql`coalesce(a.paid_until > ${nowBy(sql, offsetMs)}, false)`;
}

/** Whether a hold stands: it has no known end, or one that is ahead. */
export function holdStands(sql: Queryable, lane: "h" | "l" | "lane", offsetMs: number): Fragment {
  const until = sql.unsafe(`${lane}.hold_until`);
  return sql`(${until} IS NULL OR ${until} > ${nowBy(sql, offsetMs)})`;
}

/** Whether a send waits. */
export function isQueued(sql: Queryable): Fragment {
  return sql`s.state = ${literal(sql, SendState.queued)}`;
}

/** Whether a send waits that is of this kind, as the partial indexes have it. */
export function isQueuedOf(sql: Queryable, kind: keyof typeof SendKind): Fragment {
  return sql`${isQueued(sql)} AND s.kind = ${literal(sql, SendKind[kind])}`;
}

/** Whether a send's moment has come. A follow-up always has one. */
export function isDue(sql: Queryable, offsetMs: number): Fragment {
  return sql`s.due_at <= ${nowBy(sql, offsetMs)}`;
}

/** Whether a send may be tried now as to its time: at once, or its moment has come. */
export function isTime(sql: Queryable, offsetMs: number): Fragment {
  return sql`(s.due_at IS NULL OR ${isDue(sql, offsetMs)})`;
}

/**
 * *Sendable now*: the send waits in the open run, its time has come, and the body is not the one that was refused for its lead.
 * @param source the alias of what has the source's `run`, `revision` and `accepted_revision`.
 */
export function isSendable(sql: Queryable, source: "b" | "g" | "k", offsetMs: number): Fragment {
  const of = (column: string) => sql.unsafe(`${source}.${column}`);
  return sql`${isQueued(sql)} AND s.run = ${of("run")} AND ${isTime(sql, offsetMs)}
    AND (s.fault_revision < ${of("revision")} OR ${of("accepted_revision")} >= ${of("revision")})`;
}

/**
 * Whether the send's lead may be messaged. Of a lead that is gone it is unknown: what is dropped is where this IS NOT TRUE.
 * `g.status` is the status whose entry is followed up, −1 for broadcasts.
 */
export function mayBeMessaged(sql: Queryable): Fragment {
  return sql`(l.unreachable = 0 AND NOT l.opted_out AND c.state <> ${literal(sql, CampaignState.deleted)}
    AND (g.status < 0 OR (l.entry = s.entry AND l.status = g.status)))`;
}
