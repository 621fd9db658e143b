/** Processes that tests started and did not stop, told from all others by a mark in their environment. */
import { readdirSync, readFileSync } from "node:fs";

export const runMark = "LEADCAST_TEST_RUN";

const graceMs = 8_000;

/**
 * Waits for the marked processes to end by themselves (those that watch for the end of their owner need a moment), then
 * kills what is left.
 *
 * @returns the command lines of those that had to be killed. Always empty where there is no /proc.
 */
export async function endLeftovers(run: string): Promise<string[]> {
  const deadline = performance.now() + graceMs;
  while (markedProcesses(run).length > 0 && performance.now() < deadline) await Bun.sleep(50);
  const left = markedProcesses(run);
  return left.map((pid) => {
    const line = commandOf(pid);
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended since.
    }
    return line;
  });
}

function markedProcesses(run: string): number[] {
  try {
    return readdirSync("/proc")
      .map(Number)
      .filter((pid) => pid > 0 && pid !== process.pid && environmentOf(pid).includes(`${runMark}=${run}`));
  } catch {
    return [];
  }
}

/** Empty for a process that has ended or is not ours to look at. */
function environmentOf(pid: number): string[] {
  return readOr(`/proc/${pid}/environ`).split("\0");
}

function commandOf(pid: number): string {
  return readOr(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim().slice(0, 200) || `process ${pid}`;
}

function readOr(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
