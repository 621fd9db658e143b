import { closeSync, mkdirSync, openSync, readFileSync, statSync, truncateSync } from "node:fs";
import { dirname } from "node:path";

/** How a process ended, for people: "exit code 1" or "SIGKILL". */
export type Ending = string;

export interface ServerProcess {
  readonly pid: number;
  /** Resolves when it is gone, whatever the reason. It never rejects. */
  readonly exited: Promise<Ending>;
  /** Sends the signal and waits; after `graceMs` it sends SIGKILL. Safe twice, and after the process has died. */
  stop(signal: NodeJS.Signals, graceMs: number): Promise<void>;
}

export interface ServerProcessOptions {
  /** Appended to, and emptied first once it is larger than 10 MB. */
  logPath: string;
  cwd?: string;
  env?: Record<string, string>;
  /** What the process gets when this one dies without stopping it. */
  orphanSignal: NodeJS.Signals;
}

const maxLogBytes = 10 * 1024 * 1024;

/**
 * Starts a server that leaves this process's terminal but never outlives it. It gets a session of its own, so that
 * Ctrl-C reaches only us and we stop things in order. A `sh` beside it waits on a pipe that only we hold: should we be
 * killed with -9, the kernel closes the pipe and the shell passes the signal on. (A parent-death signal would do the
 * same on Linux only, and is lost when the server changes its user.)
 */
export function startServerProcess(command: string[], options: ServerProcessOptions): ServerProcess {
  const log = openLog(options.logPath);
  const child = Bun.spawn(command, {
    stdin: "ignore",
    stdout: log,
    stderr: log,
    detached: true,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: options.env ?? (process.env as Record<string, string>),
  });
  closeSync(log);
  const watcher = watchOver(child.pid, options.orphanSignal);
  const exited = child.exited.then(() => {
    watcher.kill("SIGKILL");
    return endingOf(child);
  });
  return { pid: child.pid, exited, stop: (signal, graceMs) => stopProcess(child, signal, graceMs) };
}

/** The last lines of a log, for saying why a server did not start. */
export function tailOf(logPath: string, lines = 3): string {
  try {
    return readFileSync(logPath, "utf8").trimEnd().split("\n").slice(-lines).join(" | ");
  } catch {
    return "";
  }
}

/** Sends the signal and waits for the end; after `graceMs` the process is killed. */
export async function stopProcess(child: Bun.Subprocess, signal: NodeJS.Signals, graceMs: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill(signal);
  const hard = setTimeout(() => child.kill("SIGKILL"), graceMs);
  await child.exited;
  clearTimeout(hard);
}

export function endingOf(child: Bun.Subprocess): Ending {
  return child.signalCode !== null ? `${child.signalCode}` : `exit code ${child.exitCode}`;
}

/** Sends the signal to a process when this one has died. Ends with us, or when it is killed. */
export function watchOver(pid: number, signal: NodeJS.Signals): Bun.Subprocess {
  const script = 'while read -r _; do :; done; kill -s "$1" "$2" 2>/dev/null';
  return Bun.spawn(["sh", "-c", script, "leadcast-watch", signal.replace("SIG", ""), String(pid)], {
    stdin: "pipe",
    stdout: "ignore",
    stderr: "ignore",
    detached: true,
  });
}

function openLog(path: string): number {
  mkdirSync(dirname(path), { recursive: true });
  const log = openSync(path, "a", 0o600);
  if (statSync(path).size > maxLogBytes) truncateSync(path);
  return log;
}
