/**
 * `npm run chaos`: random runs of the whole system under kills and faults, each checked against what the Bot API accepted.
 *
 *   npm run chaos                                       one run, from a seed that it prints
 *   npm run chaos -- --seed 7 --kills 50 --leads 10000  that run again: the same decisions
 *   npm run chaos -- --runs 20                          seeds 7, 8, 9, …
 *   npm run chaos -- --points                           each kill point × kill -9 and SIGSTOP × what the Bot API can answer
 *   npm run chaos -- --mutations                        breaks each guard in turn: the tests must notice
 *   npm run chaos -- --baseline                         an at-least-once worker under the same kills, for comparison
 *   npm run chaos -- --scenario takeover                a named scenario: its figures, and what must hold of them
 *                    --variant kill9 --runs 5 --seed 7  (test/chaos/scenarios/; --short for the size that the tests run)
 */
import { appendFileSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { findNatsServer } from "#services/local/embedded/nats-server.ts";
import { runBaseline } from "#test/chaos/baseline.ts";
import { runMutations } from "#test/chaos/mutations.ts";
import { pointCases, runPoint } from "#test/chaos/points.ts";
import { type RunReport, runOnce } from "#test/chaos/run.ts";
import { runScenario } from "#test/chaos/scenarios/all.ts";
import { onParentGone } from "./parent.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    runs: { type: "string", default: "1" },
    kills: { type: "string", default: "50" },
    leads: { type: "string", default: "10000" },
    bots: { type: "string", default: "12" },
    pace: { type: "string", default: "40" },
    delivery: { type: "string", default: "3" },
    broadcast: { type: "string", default: "2" },
    interval: { type: "string", default: "600" },
    points: { type: "boolean", default: false },
    mutations: { type: "boolean", default: false },
    baseline: { type: "boolean", default: false },
    only: { type: "string", default: "" },
    scenario: { type: "string" },
    variant: { type: "string", default: "" },
    short: { type: "boolean", default: false },
    /** A file to which each report is added, as a line of JSON. */
    report: { type: "string" },
  },
});

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

const firstSeed = values.seed === undefined ? Math.floor(Math.random() * 1e9) : Number(values.seed);

async function randomRuns(): Promise<boolean> {
  const first = firstSeed;
  const reports: RunReport[] = [];
  for (let seed = first; seed < first + Number(values.runs); seed++) {
    const report = await runOnce({
      seed,
      kills: Number(values.kills),
      leads: Number(values.leads),
      bots: Number(values.bots),
      messagesPerSecond: Number(values.pace),
      delivery: Number(values.delivery),
      broadcast: Number(values.broadcast),
      maxIntervalMs: Number(values.interval),
      ownPostgres: true,
      say,
    });
    reports.push(report);
    if (values.report !== undefined) appendFileSync(values.report, `${JSON.stringify(report)}\n`);
    sayReport(report);
  }
  sayTotals(reports);
  return reports.every((report) => report.violations.length === 0);
}

function sayReport({ seed, figures, violations, kills, killCount, freezes, seconds }: RunReport): void {
  say(
    `seed ${seed}: ${killCount} kills and ${freezes} freezes over ${figures.leads} leads in ${seconds} s: ` +
      `${figures.accepted} accepted, ${figures.messagedTwice} twice, ${figures.acceptedWithoutRecord} without a record, ` +
      `${figures.sentNotAccepted} counted sent and not accepted, ${figures.unconfirmed} unconfirmed ` +
      `(${figures.unconfirmedAccepted} of them accepted)`,
  );
  say(`  killed: ${JSON.stringify(kills)}`);
  for (const violation of violations) say(`  BROKEN: ${violation}`);
  if (violations.length > 0) {
    say(`  again: npm run chaos -- --seed ${seed} --kills ${values.kills} --leads ${values.leads}`);
  }
}

function sayTotals(reports: RunReport[]): void {
  const sum = (pick: (report: RunReport) => number) => reports.reduce((total, report) => total + pick(report), 0);
  say(
    `${reports.length} runs, ${sum((r) => r.killCount)} kills, ${sum((r) => r.freezes)} freezes, ` +
      `${sum((r) => r.figures.leads)} leads, ${sum((r) => r.figures.accepted)} accepted: ` +
      `${sum((r) => r.figures.messagedTwice)} twice, ${sum((r) => r.figures.acceptedWithoutRecord)} without a record, ` +
      `${sum((r) => r.figures.sentNotAccepted)} counted sent and not accepted, ` +
      `${sum((r) => r.figures.unconfirmed)} unconfirmed, ${sum((r) => r.violations.length)} violations`,
  );
}

async function points(): Promise<boolean> {
  let passed = true;
  for (const one of pointCases().filter(({ name }) => name.includes(values.only))) {
    const { figures, violations, missed } = await runPoint(one);
    passed &&= violations.length === 0 && missed.length === 0;
    const reached = missed.length === 0 ? "ok" : `never passed ${missed.join(", ")}`;
    const outcome = violations.length === 0 ? reached : `BROKEN: ${violations.join(" ")}`;
    say(`${one.name}: ${outcome}; ${figures.accepted} accepted, ${figures.unconfirmed} unconfirmed`);
  }
  return passed;
}

async function run(): Promise<boolean> {
  const { variant, short, only } = values;
  if (values.scenario !== undefined) {
    return await runScenario({
      name: values.scenario,
      variant,
      seed: firstSeed,
      runs: Number(values.runs),
      short,
      say,
    });
  }
  if (values.mutations) return await runMutations({ say, only });
  if (values.points) return await points();
  if (!values.baseline) return await randomRuns();
  return await runBaseline({
    seed: Number(values.seed ?? 1),
    kills: Number(values.kills),
    leads: Number(values.leads),
    say,
  });
}

onParentGone(() => process.exit(130));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(130));
findNatsServer(resolve(import.meta.dirname, "..", process.env.LEADCAST_DATA || ".data", "tools"), say);
const passed = await run();
process.exit(passed ? 0 : 1);
