/**
 * `npm test [-- filter…]`: the checks, then the tests on one shared Postgres, then one line that sums both up.
 *
 *   npm test                    everything
 *   npm test -- test/core/ledger     only those tests, without the checks
 *   npm run check               (--checks) only the checks
 */
import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { findNatsServer } from "#services/local/embedded/nats-server.ts";
import { type EmbeddedPostgres, startPostgres } from "#services/local/embedded/postgres.ts";
import { SetupError } from "#services/local/embedded/setup-error.ts";
import { throwAwaySettings } from "#test/support/postgres.ts";
import { checks, root } from "./checks.ts";
import { endLeftovers, runMark } from "./leftovers.ts";
import { onParentGone } from "./parent.ts";

/** What test/support/preload.ts asks for: Bun 1.4.5 takes that for the first file of a run only, and 5 s for the others. */
const testTimeoutMs = 60_000;

/** Test files run side by side, each with databases, servers and ports of its own: most of their time is waiting. */
const testWorkers = 3;

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
const interrupted = new AbortController();

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function runChecks(): void {
  for (const check of checks) {
    const startedAt = performance.now();
    const result = check.run();
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    if ("skipped" in result) {
      counts.skipped++;
      say(`skip  ${check.name} (${result.skipped})`);
    } else if (result.passed) {
      counts.passed++;
      say(`ok    ${check.name} (${[`${seconds} s`, result.note].filter(Boolean).join(", ")})`);
    } else {
      counts.failed++;
      say(`FAIL  ${check.name} (${seconds} s)\n${result.output.replace(/^/gm, "      ")}`);
    }
  }
}

async function runTests(filters: string[]): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "leadcast-run-"));
  let postgres: EmbeddedPostgres | undefined;
  try {
    findNatsServer(resolve(root, process.env.LEADCAST_DATA || ".data", "tools"), say);
    postgres = await startPostgres({
      dataDir: join(folder, "postgres"),
      logPath: join(folder, "postgres.log"),
      settings: throwAwaySettings,
    });
    await runBunTest(filters, folder, postgres.url);
  } finally {
    await postgres?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The tests' own temporary folders lie below the run's, and all that they start bears its mark. */
async function runBunTest(filters: string[], folder: string, databaseUrl: string): Promise<void> {
  const run = randomUUID();
  const report = join(folder, "junit.xml");
  const options = [
    "--reporter=junit",
    `--reporter-outfile=${report}`,
    `--timeout=${testTimeoutMs}`,
    `--parallel=${testWorkers}`,
  ];
  const tests = Bun.spawn([process.execPath, "test", ...options, ...filters], {
    cwd: root,
    env: { ...process.env, TMPDIR: folder, TEST_DATABASE_ADMIN_URL: databaseUrl, [runMark]: run },
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
  });
  interrupted.signal.addEventListener("abort", () => tests.kill("SIGKILL"));
  await tests.exited;
  if (!interrupted.signal.aborted) count(report, tests.exitCode ?? 1);
  const left = await endLeftovers(run);
  if (left.length > 0 && !interrupted.signal.aborted) {
    counts.failed++;
    say(`FAIL  no process is left behind; these were killed:\n${left.map((line) => `      ${line}`).join("\n")}`);
  }
}

/** A run that failed without a failed test (a file that does not load, a crash) counts as one failure. */
function count(report: string, exitCode: number): void {
  const opening = existsSync(report) ? (/<testsuites [^>]*>/.exec(readFileSync(report, "utf8"))?.[0] ?? "") : "";
  const number = (name: string) => Number(new RegExp(` ${name}="(\\d+)"`).exec(opening)?.[1] ?? 0);
  const failed = number("failures") + number("errors");
  const passed = number("tests") - failed - number("skipped");
  counts.passed += passed;
  counts.skipped += number("skipped");
  counts.failed += failed;
  if (exitCode !== 0 && failed === 0) {
    counts.failed++;
    say(`FAIL  bun test ended with exit code ${exitCode}`);
  } else if (passed + failed === 0) {
    counts.failed++;
    say("FAIL  no test ran");
  }
}

function stopOnSignals(): void {
  const stop = () => interrupted.abort();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
  onParentGone(stop);
}

async function main(args: string[]): Promise<void> {
  stopOnSignals();
  const filters = args.filter((arg) => arg !== "--checks");
  if (filters.length === 0) runChecks();
  if (!args.includes("--checks") && !interrupted.signal.aborted) await runTests(filters);
}

await main(process.argv.slice(2)).catch((error) => {
  counts.failed++;
  say(error instanceof SetupError ? error.message : String(error instanceof Error ? error.stack : error));
});
const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
say(interrupted.signal.aborted ? "interrupted" : `${counts.passed} passed, ${counts.failed} failed${skipped}`);
process.exit(interrupted.signal.aborted ? 130 : counts.failed > 0 ? 1 : 0);
