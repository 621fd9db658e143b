/**
 * `npm run bench`: every row beside its floor, in turns, on a Postgres, a `nats-server` and a Bot API of its own.
 *
 *   npm run bench                        the whole table
 *   npm run bench -- --only delivery     one row, or several with commas between them; also memory, growth, soak and sandbox
 *   npm run bench -- --rounds 3          counted rounds (default 5)
 *   npm run bench -- --quick             the smallest amounts that run every line: for the tests
 *   npm run bench -- --only soak --minutes 30
 *   npm run bench -- --write             writes docs/performance.md
 */
import { parseArgs } from "node:util";
import { onParentGone } from "../scripts/parent.ts";
import { createGround } from "./ground.ts";
import { printed, writeReport } from "./report.ts";
import type { Row } from "./row.ts";
import { rows } from "./rows/index.ts";

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    rounds: { type: "string", default: "5" },
    minutes: { type: "string", default: "30" },
    quick: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
  },
});
const chosen = chooseRows(values.only?.split(","), values.quick);
const rounds = values.quick ? 1 : Math.max(1, Number.parseInt(values.rounds, 10) || 5);
const minutes = Number.parseFloat(values.minutes) || 30;
let stopping = false;

function chooseRows(names: string[] | undefined, quick: boolean): Row[] {
  const unknown = names?.filter((name) => !rows.some((row) => row.name === name)) ?? [];
  if (unknown.length > 0)
    fail(`There is no row ${unknown.join(", ")}; there are ${rows.map((r) => r.name).join(", ")}.`);
  return rows.filter((row) => (names ? names.includes(row.name) : quick || !row.onlyByName));
}

function fail(sentence: string): never {
  process.stderr.write(`${sentence}\n`);
  process.exit(1);
}

function say(line: string): void {
  process.stderr.write(`  ${line}\n`);
}

/** Ground and children end with this process; the folder is taken away first. */
async function main(): Promise<void> {
  const ground = await createGround();
  const stop = () => {
    if (!stopping) void ground.stop().then(() => process.exit(130));
    stopping = true;
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, stop);
  onParentGone(stop);
  try {
    const results = [];
    for (const row of chosen) {
      process.stderr.write(`${row.name}\n`);
      const figures = await row.run({ ground, quick: values.quick, rounds, minutes, say });
      process.stdout.write(`${printed(figures)}\n`);
      results.push({ row, figures });
    }
    if (results.length > 1) process.stdout.write(`\n${printed(results.flatMap(({ figures }) => figures))}\n`);
    if (values.write) writeReport(results, { rounds });
  } finally {
    if (!stopping) await ground.stop();
  }
}

await main();
process.exit(0);
