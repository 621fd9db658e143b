/** What processes take of the machine, from /proc; all zero where there is none. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** USER_HZ of every Linux that Bun runs on. */
const ticksPerSecond = 100;

/** Processor seconds that a process and the children that it has waited for have used; with `tree` all below it too. */
export function cpuSeconds(pid: number, { tree = false } = {}): number {
  const stat = read(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  const below = tree ? childrenOf(pid).reduce((sum, child) => sum + cpuSeconds(child), 0) : 0;
  return (Number.isNaN(ticks) ? 0 : ticks / ticksPerSecond) + below;
}

function childrenOf(pid: number): number[] {
  return read(`/proc/${pid}/task/${pid}/children`).split(" ").filter(Boolean).map(Number);
}

/** Resident memory in bytes. */
export function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) * 1024;
}

/** What the files below a folder hold, in bytes. */
export function folderBytes(folder: string): number {
  try {
    const entries = readdirSync(folder, { recursive: true }) as string[];
    return entries.reduce((sum, entry) => sum + sizeOf(join(folder, entry)), 0);
  } catch {
    return 0;
  }
}

function sizeOf(path: string): number {
  try {
    const stat = statSync(path);
    return stat.isFile() ? stat.size : 0;
  } catch {
    // Gone since it was listed.
    return 0;
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** A process whose share is to be told; `tree` counts what it has forked. */
export interface Watched {
  name: string;
  pid: number;
  tree?: boolean;
}

/** Starts counting. The result says what each has used since, in seconds. */
export function watchCpu(processes: readonly Watched[]): () => Map<string, number> {
  const before = processes.map((one) => cpuSeconds(one.pid, one));
  return () => new Map(processes.map((one, i) => [one.name, cpuSeconds(one.pid, one) - before[i]!]));
}
