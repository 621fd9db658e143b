import { rmSync } from "node:fs";
import { readOr, writePrivate } from "./secrets.ts";
import { dataPaths } from "./settings.ts";

/** Where a running system can be reached; kept in the data folder while it runs, for `npm run demo`. */
export interface RunningSystem {
  pid: number;
  gateway: string;
  /** Absent where a real Bot API is used. */
  sandbox?: string;
}

export function writeRunning(folder: string, system: RunningSystem): void {
  writePrivate(dataPaths(folder).running, `${JSON.stringify(system)}\n`);
}

export function removeRunning(folder: string): void {
  rmSync(dataPaths(folder).running, { force: true });
}

/** @returns undefined where no system was started on that folder, or it was stopped. */
export function readRunning(folder: string): RunningSystem | undefined {
  const text = readOr(dataPaths(folder).running, "");
  return text === "" ? undefined : (JSON.parse(text) as RunningSystem);
}
