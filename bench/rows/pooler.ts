/** The same statements three ways: straight to Postgres and prepared, straight and not prepared, and through PgBouncer. */
import { join } from "node:path";
import { startBroadcast } from "#services/broadcast/life-cycle.ts";
import { createDatabase, type Sql } from "#services/core/database/client.ts";
import { claimSends, type SendJob } from "#services/core/ledger/claim.ts";
import { SendKind, SHARD_COUNT } from "#services/core/ledger/send.ts";
import { settleSends, ticketOf } from "#services/core/ledger/settle.ts";
import { LeaseRole } from "#services/core/shards/leases.ts";
import { installedPgbouncer, type Pgbouncer, startPgbouncer } from "#services/local/embedded/pgbouncer.ts";
import type { Figure, Unit } from "../figure.ts";
import type { BenchDatabase } from "../ground.ts";
import { interleave, timeMs } from "../measure.ts";
import { perMessage } from "../pipeline.ts";
import type { Row, RowContext } from "../row.ts";
import { type Watched, watchCpu } from "../usage.ts";
import { addBroadcast, createWorld } from "../world.ts";
import { perRequest, prepare, requestRate, startSystem } from "./rest.ts";

const BOTS = 20;
const FENCE = 1;
const leases = new Map(Array.from({ length: SHARD_COUNT }, (_, shard) => [shard, FENCE]));
/** Nothing is rescued while it is measured. */
const rescueMs = { text: 3_600_000, media: 3_600_000 };

type Way = "prepared" | "unprepared" | "pooled";

/** What each way is called in the table; the first is the others' floor. */
const wayNames: Record<Way, string> = {
  prepared: "direct, prepared",
  unprepared: "direct, not prepared",
  pooled: "through PgBouncer, not prepared",
};

export const pooler: Row = {
  name: "pooler",
  onlyByName: true,
  limits: `\
Round trips. A statement with parameters that is not prepared asks for their types first and only then runs, and the next one
cannot be written behind it: a claim makes 24 round trips instead of 6, a settle 6 instead of 4, get and list 4 instead of 2
(counted by the delay of a proxy between client and Postgres). Postgres parses and plans each of them again. PgBouncer in
transaction mode (1.18, Debian 12's, keeps no prepared statements) adds its own hop to every round trip. All of this is for each
claim and not for each message: large batches hide it.`,
  run: async (context) => {
    const binary = installedPgbouncer();
    if (!binary) {
      context.say('Not measured: this machine has no PgBouncer. Install the package "pgbouncer", or put one on PATH.');
      return [];
    }
    const database = await context.ground.createDatabase();
    const folder = join(context.ground.folder, "pgbouncer");
    const pgbouncer = await startPgbouncer({ binary, databaseUrl: database.url, folder });
    try {
      const figures: Figure[] = [];
      for (const size of context.quick ? [5] : [10, 200]) {
        figures.push(...(await claimAndSettle(context, database, pgbouncer, size)));
      }
      return [...figures, ...(await read(context, pgbouncer))];
    } finally {
      await pgbouncer.stop();
      await database.drop();
    }
  },
};

async function claimAndSettle(
  { ground, quick, rounds, say }: RowContext,
  database: BenchDatabase,
  pgbouncer: Pgbouncer,
  size: number,
): Promise<Figure[]> {
  const batches = quick ? 2 : Math.max(20, Math.round(1_000 / size));
  const jobs = await queuedJobs(database.sql, size * batches * 3 * (rounds + 1));
  const clients = {
    prepared: createDatabase({ url: database.url, prepare: true }),
    unprepared: createDatabase({ url: database.url, prepare: false }),
    pooled: createDatabase({ url: pgbouncer.url, prepare: false }),
  };
  const side = (way: Way) => async () => {
    const ms = await timeMs(async () => {
      for (let i = 0; i < batches; i++) await sendBatch(clients[way].sql, jobs.splice(0, size));
    });
    say(`${wayNames[way]}: ${(ms / batches).toFixed(2)} ms a claim and settle of ${size}`);
    return ms / batches;
  };
  const watched = watchedOf(ground.postgresPid, pgbouncer, [{ name: "client", pid: process.pid }]);
  const { sides, notes } = withNotes(watched, side, (used) => perMessage(used, size * batches));
  const numbers = await interleave(rounds, sides);
  for (const client of Object.values(clients)) await client.close();
  return figuresOf(`claim and settle of ${size} sends`, "ms", numbers, notes);
}

/** A claim, and its settle as sent: one transaction each, as delivery makes them. */
async function sendBatch(sql: Sql, jobs: SendJob[]): Promise<void> {
  const answers = await claimSends(jobs, { sql, role: LeaseRole.delivery, leases, rescueMs });
  const sends = answers.flatMap((answer) => (answer.outcome === "claimed" ? [answer.send] : []));
  const settled = await settleSends(
    sends.map((send, i) => ({ ticket: ticketOf(send), result: { result: "sent", messageId: i + 1 } })),
    { sql },
  );
  if (settled.length !== jobs.length) throw new Error(`Of ${jobs.length} sends ${settled.length} were settled.`);
}

/** A running broadcast's, in the order in which the relay would publish them, with every shard leased. */
async function queuedJobs(sql: Sql, leads: number): Promise<SendJob[]> {
  const { accountId } = await createWorld(sql, { bots: BOTS, leads });
  const broadcastId = await addBroadcast(sql, accountId);
  await startBroadcast(sql, accountId, broadcastId);
  await sql`VACUUM ANALYZE send`;
  await sql`
    INSERT INTO shard_lease (role, shard, owner, fence, expires_at)
    SELECT ${LeaseRole.delivery}::smallint, shard, 'bench', ${FENCE}, now() + interval '1 day'
    FROM generate_series(0, ${SHARD_COUNT - 1}::int) AS shard
    ON CONFLICT (role, shard) DO UPDATE SET owner = excluded.owner, fence = excluded.fence, expires_at = excluded.expires_at`;
  const rows = await sql<{ sourceId: number; leadId: number; botId: number }[]>`
    SELECT s.source_id AS "sourceId", s.lead_id AS "leadId", s.bot_id AS "botId"
    FROM send s JOIN broadcast b USING (source_id) WHERE b.id = ${broadcastId} ORDER BY s.lead_id`;
  return rows.map((row) => ({ ...row, entry: 0, kind: SendKind.broadcast }));
}

/** In a database of its own, as large as that of the row `rest`. */
async function read({ ground, quick, rounds, say }: RowContext, pgbouncer: Pgbouncer): Promise<Figure[]> {
  const requests = quick ? 50 : 1_000;
  const [database, nats] = await Promise.all([ground.createDatabase(), ground.startNats()]);
  const pooledUrl = Object.assign(new URL(pgbouncer.url), { pathname: new URL(database.url).pathname }).href;
  const unprepared = { DATABASE_PREPARE: "false" };
  const systems = {
    prepared: await startSystem(ground, database, nats),
    unprepared: await startSystem(ground, database, nats, unprepared),
    pooled: await startSystem(ground, database, nats, { DATABASE_URL: pooledUrl, ...unprepared }),
  };
  try {
    const { session, broadcastId } = await prepare(ground, database, systems.prepared.account);
    const figures: Figure[] = [];
    for (const [name, path] of [
      ["get", `/api/broadcast/get.json?id=${broadcastId}`],
      ["list", "/api/broadcast/list.json"],
    ] as const) {
      const side = (way: Way) => async () => {
        const rate = await requestRate(`${systems[way].gateway.url}${path}`, session, requests);
        say(`${wayNames[way]}, ${name}: ${Math.round(rate)}/s`);
        return rate;
      };
      const watched = (way: Way) => watchedOf(ground.postgresPid, pgbouncer, systems[way].watched)(way);
      const perOne = (used: Map<string, number>) => `µs of processor time a request: ${perRequest(used, requests)}`;
      const { sides, notes } = withNotes(watched, side, perOne);
      figures.push(...figuresOf(`REST ${name}`, "requests/s", await interleave(rounds, sides), notes));
    }
    return figures;
  } finally {
    for (const { gateway, broadcast, account } of Object.values(systems)) {
      for (const service of [gateway, broadcast, account]) await service.stop();
    }
    await Promise.all([nats.stop(), database.drop()]);
  }
}

function watchedOf(postgresPid: number, pgbouncer: Pgbouncer, ours: Watched[]): (way: Way) => Watched[] {
  const postgres = { name: "Postgres", pid: postgresPid, tree: true };
  return (way) => [...ours, postgres, ...(way === "pooled" ? [{ name: "PgBouncer", pid: pgbouncer.pid }] : [])];
}

/** The three sides, with what each one's last round took of the processor. */
function withNotes(
  watched: (way: Way) => Watched[],
  side: (way: Way) => () => Promise<number>,
  told: (used: Map<string, number>) => string,
) {
  const notes: Record<Way, string> = { prepared: "", unprepared: "", pooled: "" };
  const counted = (way: Way) => async () => {
    const cpu = watchCpu(watched(way));
    const number = await side(way)();
    notes[way] = told(cpu());
    return number;
  };
  const sides = { prepared: counted("prepared"), unprepared: counted("unprepared"), pooled: counted("pooled") };
  return { sides, notes };
}

function figuresOf(name: string, unit: Unit, numbers: Record<Way, number[]>, notes: Record<Way, string>): Figure[] {
  const floor = { name: wayNames.prepared, numbers: numbers.prepared };
  return (["unprepared", "pooled"] as const).map((way) => ({
    name: `${name}, ${wayNames[way]}`,
    unit,
    product: numbers[way],
    floor,
    notes: `${notes[way]}; ${wayNames.prepared}: ${notes.prepared}`,
  }));
}
