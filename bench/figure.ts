/** What a row says: its numbers beside its floor's, and whether that meets the goal. */
import { median, ratios } from "./measure.ts";

export type Unit = "messages/s" | "leads/s" | "requests/s" | "ms" | "%" | "MB" | "µs" | "calls";

export interface Goal {
  /** What is judged: ours over the floor's, or ours alone. */
  of: "ratio" | "value";
  is: "at least" | "at most";
  limit: number;
}

/** One line of the table. */
export interface Figure {
  /** What was measured. */
  name: string;
  unit: Unit;
  /** Ours, round by round. */
  product: number[];
  /** The floor's of the same rounds; absent where there is none. */
  floor?: { name: string; numbers: number[] };
  goal?: Goal;
  /** What came out beside it, such as who spent how much time on the processor. */
  notes?: string;
}

export interface Verdict {
  ours: number;
  floor: number | undefined;
  /** Median of the rounds' ratios, and the smallest and largest of them. */
  ratio: { median: number; low: number; high: number } | undefined;
  /** Undefined where there is no goal. */
  met: boolean | undefined;
}

export function judge(figure: Figure): Verdict {
  const { product, floor, goal } = figure;
  const ours = median(product);
  const each = floor ? ratios(product, floor.numbers) : [];
  const ratio = floor ? { median: median(each), low: Math.min(...each), high: Math.max(...each) } : undefined;
  const judged = goal?.of === "ratio" ? ratio?.median : ours;
  const met = goal && judged !== undefined ? isMet(goal, judged) : undefined;
  return { ours, floor: floor && median(floor.numbers), ratio, met };
}

function isMet({ is, limit }: Goal, number: number): boolean {
  return is === "at least" ? number >= limit : number <= limit;
}
