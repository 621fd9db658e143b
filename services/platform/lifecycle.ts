import { StartError } from "./address.ts";
import { systemClock } from "./clock.ts";
import { ConfigError } from "./config.ts";
import type { Logger } from "./log.ts";

/** Given to a process while it starts. */
export interface ProcessContext {
  /**
   * Registers what must be stopped. Stops run one after the other, the last registered first, each with its deadline
   * (default 30 s); one that fails or is late does not keep the others from running.
   */
  onStop(name: string, stop: () => void | Promise<void>, options?: { deadlineMs?: number }): void;
  /** Adds fields to the `ready` line, such as the port. */
  announce(fields: Record<string, unknown>): void;
  /** Aborts when the process begins to stop. */
  readonly signal: AbortSignal;
}

export interface ProcessOptions {
  service: string;
  log: Logger;
  /** Resolves when the process serves. */
  start: (context: ProcessContext) => Promise<void>;
}

interface Stop {
  name: string;
  stop: () => void | Promise<void>;
  deadlineMs: number;
}

const defaultStopDeadlineMs = 30_000;
/** EX_CONFIG of sysexits.h: a supervisor can tell "cannot work with this configuration" from a crash. */
const badConfigurationExitCode = 78;

/**
 * Runs a process from start to exit.
 *
 * SIGTERM and SIGINT drain it: registered stops run, then exit 0, or 1 if one of them failed. A second signal exits 1 at
 * once. An error that nobody caught is logged and exits 1: state is unknown by then, and the system is made to be killed
 * anywhere. A ConfigError is printed to stderr, a line per variable, and exits 78; a StartError is one sentence, and exits 1. With LEADCAST_PARENT_WATCH=1 the end
 * of stdin drains too, so that a supervisor that dies leaves no orphan.
 */
export async function runProcess({ service, log, start }: ProcessOptions): Promise<void> {
  const stops: Stop[] = [];
  const stopping = new AbortController();
  const ready: Record<string, unknown> = {};

  function drainAndExit(cause: string): void {
    if (stopping.signal.aborted) {
      log.warn({ cause }, "told to stop a second time: exiting at once");
      process.exit(1);
    }
    stopping.abort();
    log.info({ cause }, "stopping");
    void runStops(stops, log).then((clean) => {
      log.info({ clean }, "stopped");
      process.exit(clean ? 0 : 1);
    });
  }

  watchSignals(drainAndExit);
  exitOnUncaught(log);
  if (process.env.LEADCAST_PARENT_WATCH === "1") watchParent(() => stopping.signal.aborted || drainAndExit("parent"));
  try {
    await start({
      onStop: (name, stop, { deadlineMs = defaultStopDeadlineMs } = {}) => stops.push({ name, stop, deadlineMs }),
      announce: (fields) => Object.assign(ready, fields),
      signal: stopping.signal,
    });
    if (!stopping.signal.aborted) log.info({ ...ready, pid: process.pid }, "ready");
  } catch (error) {
    // A start that is cut short by a signal may well fail; the drain that is under way decides how the process ends.
    if (stopping.signal.aborted) log.warn({ err: error }, "the start ended early");
    else await failStart(error, service, stops, log);
  }
}

async function failStart(error: unknown, service: string, stops: Stop[], log: Logger): Promise<never> {
  if (error instanceof ConfigError) {
    process.stderr.write(`${service} cannot start with this configuration:\n${error.problems.join("\n")}\n`);
    process.exit(badConfigurationExitCode);
  }
  if (error instanceof StartError) {
    process.stderr.write(`${service} cannot start: ${error.message}\n`);
    log.fatal({ why: error.message }, "the start failed");
  } else log.fatal({ err: error }, "the start failed");
  await runStops(stops, log);
  process.exit(1);
}

/** Takes the list apart from its end, so that what a start still registers while we stop is stopped as well. */
async function runStops(stops: Stop[], log: Logger): Promise<boolean> {
  let clean = true;
  for (let next = stops.pop(); next !== undefined; next = stops.pop()) {
    clean = (await runStop(next, log)) && clean;
  }
  return clean;
}

async function runStop({ name, stop, deadlineMs }: Stop, log: Logger): Promise<boolean> {
  const finished = new AbortController();
  const late = systemClock.sleep(deadlineMs, finished.signal).then(() => "late" as const);
  try {
    const outcome = await Promise.race([Promise.resolve(stop()), late]);
    if (outcome === "late") log.error({ part: name, deadlineMs }, "a part did not stop in time");
    return outcome !== "late";
  } catch (error) {
    log.error({ part: name, err: error }, "a part failed to stop");
    return false;
  } finally {
    finished.abort();
  }
}

function watchSignals(stop: (cause: string) => void): void {
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stop(signal));
}

/** Bun prints an unhandled rejection and lives on while a server runs: without this a broken process would stay. */
function exitOnUncaught(log: Logger): void {
  const die = (kind: string) => (error: unknown) => {
    log.fatal({ err: error instanceof Error ? error : new Error(String(error)), kind }, "nobody caught an error");
    process.exit(1);
  };
  process.on("uncaughtException", die("exception"));
  process.on("unhandledRejection", die("rejection"));
}

function watchParent(stop: () => void): void {
  process.stdin.once("end", stop);
  process.stdin.once("close", stop);
  process.stdin.once("error", stop);
  process.stdin.resume();
}
