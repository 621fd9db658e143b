/**
 * `bun bench/due-plan.ts`: the plan and time of the relay's due query beside a thousand scheduled follow-ups and beside a
 * million, of which the same few are due. The two plans are to touch the same number of pages, give or take one.
 */
import { selectDueFollowUps } from "#services/broadcast/relay-store.ts";
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { SendKind } from "#services/core/ledger/send.ts";
import { createGround } from "./ground.ts";

export interface DuePlan {
  /** Rows that wait for their time. */
  scheduled: number;
  /** Rows whose time has come. */
  due: number;
  /** As EXPLAIN (ANALYZE, BUFFERS) says it. */
  lines: string[];
  /** Of the whole query, warm. */
  executionMs: number;
  /** Pages read or found in memory. */
  pages: number;
}

export interface DuePlanOptions {
  /** Over how many bots the rows are spread; default 20. */
  bots?: number;
  /** Due rows, spread like the others; default 200. */
  due?: number;
}

/** Fills an empty ledger with that many follow-ups over the coming year, and explains the relay's own statement. */
export async function explainDue(sql: Sql, scheduled: number, options: DuePlanOptions = {}): Promise<DuePlan> {
  const { bots = 20, due = 200 } = options;
  await sql`TRUNCATE send`;
  await insertFollowUps(sql, { count: scheduled, bots, fromLead: 1, spreadSeconds: 31_536_000 });
  await insertFollowUps(sql, { count: due, bots, fromLead: scheduled + 1, spreadSeconds: -60 });
  await sql`VACUUM ANALYZE send`;
  const lanes = Array.from({ length: bots }, (_, i) => ({ botId: i + 1, limit: 300 }));
  const explained = explaining(sql);
  // The first one fills the caches.
  await selectDueFollowUps(explained.tx, lanes, 0);
  await selectDueFollowUps(explained.tx, lanes, 0);
  const lines = explained.lines();
  return { scheduled, due, lines, executionMs: numberIn(lines, /Execution Time: ([\d.]+)/), pages: pagesOf(lines) };
}

interface FollowUps {
  count: number;
  bots: number;
  fromLead: number;
  /** Due times go from now on this far, evenly; negative: into the past. */
  spreadSeconds: number;
}

async function insertFollowUps(sql: Sql, { count, bots, fromLead, spreadSeconds }: FollowUps): Promise<void> {
  await sql`
    INSERT INTO send (source_id, lead_id, bot_id, entry, kind, due_at)
    SELECT 1 + i % 100, ${fromLead}::bigint + i, 1 + i % ${bots}::int, 1, ${SendKind.followUp}::smallint,
      now() + ${spreadSeconds}::float8 * (i + 1) / ${count}::float8 * interval '1 s'
    FROM generate_series(0, ${count}::int - 1) AS i`;
}

/** The client with every statement explained instead of answered, so that what is explained is the product's own text. */
function explaining(sql: Sql): { tx: TransactionSql; lines: () => string[] } {
  let latest: string[] = [];
  const explain = async (strings: readonly string[], values: never[]) => {
    const text = ["EXPLAIN (ANALYZE, BUFFERS) ", ...strings.slice(1)];
    text[0] += strings[0]!;
    const template = Object.assign(text, { raw: text }) as unknown as TemplateStringsArray;
    const rows = await sql<{ "QUERY PLAN": string }[]>(template, ...values);
    latest = rows.map((row) => row["QUERY PLAN"]);
    return [];
  };
  // Part of another statement until somebody waits for it: only then it is a statement of its own.
  const lazily = (strings: TemplateStringsArray, values: never[]) =>
    Object.assign(sql(strings, ...values), {
      // biome-ignore lint/suspicious/noThenProperty: the client's own queries are lazy in the same way.
      then: (done: (rows: never[]) => void, failed: (error: unknown) => void) =>
        explain(strings, values).then(done, failed),
    });
  const proxy = new Proxy(sql, { apply: (_, __, [strings, ...values]) => lazily(strings, values as never[]) });
  return { tx: proxy as unknown as TransactionSql, lines: () => latest };
}

function numberIn(lines: readonly string[], pattern: RegExp): number {
  return Number(pattern.exec(lines.join("\n"))?.[1] ?? Number.NaN);
}

/** The first line with buffers is the whole query's; those of planning come last. */
function pagesOf(lines: readonly string[]): number {
  const buffers = lines.find((line) => line.includes("Buffers: shared")) ?? "";
  return [...buffers.matchAll(/(?:hit|read)=(\d+)/g)].reduce((sum, [, pages]) => sum + Number(pages), 0);
}

function print({ scheduled, due, lines, executionMs, pages }: DuePlan): void {
  console.log(`\n${scheduled.toLocaleString("en")} scheduled, ${due} due: ${executionMs} ms, ${pages} pages\n`);
  for (const line of lines) console.log(`  ${line}`);
}

if (import.meta.main) {
  const ground = await createGround();
  try {
    const { sql, drop } = await ground.createDatabase();
    for (const scheduled of [1_000, 1_000_000]) print(await explainDue(sql, scheduled));
    await drop();
  } finally {
    await ground.stop();
  }
}
