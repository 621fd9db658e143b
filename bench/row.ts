import type { Figure } from "./figure.ts";
import type { Ground } from "./ground.ts";

export interface RowContext {
  ground: Ground;
  /** The smallest amounts that still run every line: for the tests. */
  quick: boolean;
  /** Counted rounds; each row may make fewer of what takes minutes. */
  rounds: number;
  /** How long the soak lasts. */
  minutes: number;
  /** Tells how far it is. */
  say(line: string): void;
}

export interface Row {
  /** For `--only`. */
  name: string;
  /** Runs only when it is asked for by name, and in `--quick`. */
  onlyByName?: boolean;
  /** What limits it, in Markdown: what profiles, plans and counts of round trips have shown. */
  limits: string;
  run(context: RowContext): Promise<Figure[]>;
}
