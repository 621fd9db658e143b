/** What Postgres says about the server side of our connections. Each question goes over a connection of its own. */
import type postgres from "postgres";
import type { Backend, Doing } from "./watchdog.ts";

export interface OneConnection {
  sql: postgres.Sql;
  /** Closes it, whatever it is doing. */
  close(): Promise<void>;
}

/** To connect and answer, together; a new connection takes milliseconds where it works at all. */
const ASK_TIMEOUT_MS = 3_000;

/** The age of a backend is told by two clocks that nobody compares, and at most a look late. */
const AGE_TOLERANCE_MS = 5_000;

interface Seen {
  ownPid: number;
  pid: number | null;
  waitEvent: string | null;
  waitEventType: string | null;
}

/**
 * @returns what each of them does, in order; `unknown` for all where a pooler hides the backends.
 * @throws if Postgres does not answer within 3 s.
 */
export async function askAboutBackends(connect: () => OneConnection, backends: readonly Backend[]): Promise<Doing[]> {
  return await inTime(connect, async (sql) => {
    const pids = backends.map(({ pid }) => pid);
    const rows = await sql<Seen[]>`
      SELECT pg_backend_pid() AS "ownPid", a.pid, a.wait_event AS "waitEvent", a.wait_event_type AS "waitEventType"
      FROM unnest(${pids}::int[]) WITH ORDINALITY AS asked (pid, n) LEFT JOIN pg_stat_activity a ON a.pid = asked.pid
      ORDER BY asked.n`;
    // A pooler tells its clients pids that it made up.
    const direct = rows[0]?.ownPid === rows.state.pid;
    return rows.map((row) => (direct ? doingOf(row) : "unknown"));
  });
}

/**
 * It waits for its client between transactions, inside one, in the middle of a statement that is sent in parts, and when it
 * cannot get rid of a result. Waits for locks, disks and standbys have other names.
 */
function doingOf({ pid, waitEvent, waitEventType }: Seen): Doing {
  if (pid === null) return "gone";
  return waitEventType === "Client" && /^Client(Read|Write)$/.test(waitEvent ?? "") ? "waiting" : "working";
}

/**
 * Ends backends whose clients have gone without a word, and rolls back what they were in the middle of. One that has another
 * age has another client, and stays.
 */
export async function dismissBackends(connect: () => OneConnection, backends: readonly Backend[]): Promise<void> {
  await inTime(connect, async (sql) => {
    await sql`
      SELECT pg_terminate_backend(a.pid)
      FROM unnest(${backends.map(({ pid }) => pid)}::int[], ${backends.map(({ ageMs }) => ageMs)}::float8[]) AS lost (pid, age_ms)
      JOIN pg_stat_activity a ON a.pid = lost.pid
      WHERE a.usename = current_user AND a.datname = current_database()
        AND a.application_name = current_setting('application_name') AND a.wait_event IN ('ClientRead', 'ClientWrite')
        AND abs(extract(epoch FROM clock_timestamp() - a.backend_start) * 1000 - lost.age_ms) < ${AGE_TOLERANCE_MS}::float8`;
  });
}

async function inTime<T>(connect: () => OneConnection, work: (sql: postgres.Sql) => Promise<T>): Promise<T> {
  const { sql, close } = connect();
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("Postgres does not answer.")), ASK_TIMEOUT_MS);
  try {
    return await Promise.race([work(sql), late.promise]);
  } finally {
    clearTimeout(timer);
    void close();
  }
}
