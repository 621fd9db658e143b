/** The relay's look for due follow-ups with a million scheduled, beside the same with a thousand. */
import { selectDueFollowUps } from "#services/broadcast/relay-store.ts";
import type { Sql } from "#services/core/database/client.ts";
import { inTransaction } from "#services/core/ledger/transaction.ts";
import type { Figure } from "../figure.ts";
import { interleave, median, timeMs } from "../measure.ts";
import type { Row, RowContext } from "../row.ts";
import { createWorld, type World } from "../world.ts";

/** Due now, of each of the bots that have some; everything else is due in the days to come. */
const DUE_PER_BOT = 5;
const BOTS_WITH_DUE = 20;
const LIMIT = 300;
const SCANS = 50;

export const dueScan: Row = {
  name: "due-scan",
  limits: `\
One descent of the index for each bot, which ends at now: what is scheduled for later makes the index one level deeper, and
nothing else: 640 pages instead of 440 for 200 bots, and 0.26 instead of 0.21 ms in the executor. The rest is the noise of a
transaction of four round trips in half a millisecond. The plan is made anew each time, on both sides: a kept one would be cheaper by
some 0.05 ms, and read the whole ledger from the first large Start on if it was made before.`,
  run: async (context) => [await scan(context, 1), await scan(context, context.quick ? 3 : 200)],
};

async function scan({ ground, quick, rounds }: RowContext, bots: number): Promise<Figure> {
  const [many, few] = quick ? [2_000, 100] : [1_000_000, 1_000];
  const large = await ground.createDatabase();
  const small = await ground.createDatabase();
  try {
    const side = async (sql: Sql, scheduled: number) => {
      const world = await createWorld(sql, { bots, leads: 1 });
      await schedule(sql, world, scheduled);
      return () => scanOften(sql, world, quick ? 2 : SCANS);
    };
    const numbers = await interleave(rounds, {
      product: await side(large.sql, many),
      floor: await side(small.sql, few),
    });
    return {
      name: `due scan of ${bots} ${bots === 1 ? "bot" : "bots"}, ${many} scheduled`,
      unit: "ms",
      product: numbers.product,
      floor: { name: `${few} scheduled`, numbers: numbers.floor },
      goal: { of: "ratio", is: "at most", limit: 1.2 },
    };
  } finally {
    await large.drop();
    await small.drop();
  }
}

/** Rows of one block; the scan looks at nothing but them. */
async function schedule(sql: Sql, { botIds }: World, count: number): Promise<void> {
  await sql`
    INSERT INTO send (source_id, lead_id, bot_id, entry, kind, due_at)
    SELECT 1, i, (${botIds}::bigint[])[1 + i % ${botIds.length}::int], 1, 2, now() + (60 + random() * 500000) * interval '1 second'
    FROM generate_series(1, ${count}::int) AS i`;
  const due = Math.min(botIds.length, BOTS_WITH_DUE);
  await sql`
    INSERT INTO send (source_id, lead_id, bot_id, entry, kind, due_at)
    SELECT 2, i, (${botIds}::bigint[])[1 + i % ${due}::int], 1, 2, now() - i * interval '1 second'
    FROM generate_series(1, ${due * DUE_PER_BOT}::int) AS i`;
  await sql`VACUUM ANALYZE send`;
}

async function scanOften(sql: Sql, { botIds }: World, times: number): Promise<number> {
  const lanes = botIds.map((botId) => ({ botId, limit: LIMIT }));
  const took: number[] = [];
  const scanOnce = () => inTransaction(sql, (tx) => selectDueFollowUps(tx, lanes, 0));
  for (let i = 0; i < times; i++) took.push(await timeMs(scanOnce));
  return median(took);
}
