import type { Bots } from "./bots.ts";
import type { SandboxRecord } from "./record.ts";
import type { Script } from "./script.ts";
import type { Settings } from "./settings.ts";

/** What the parts of one sandbox share. */
export interface World {
  settings: Settings;
  readonly bots: Bots;
  readonly record: SandboxRecord;
  readonly script: Script;
  /** Milliseconds since the sandbox was made, on a clock that never jumps. */
  nowMs(): number;
  /** Something changed that the state file holds. */
  changed(): void;
}
