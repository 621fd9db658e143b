/** The table, for the terminal and for docs/performance.md. */
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { type Figure, type Goal, judge } from "./figure.ts";
import type { Row } from "./row.ts";

export interface RowResult {
  row: Row;
  figures: Figure[];
}

const path = join(import.meta.dirname, "../docs/performance.md");

interface Line {
  figure: string;
  ours: string;
  floor: string;
  ratio: string;
  goal: string;
  met: string;
}

function lineOf(figure: Figure): Line {
  const { ours, floor, ratio, met } = judge(figure);
  return {
    figure: figure.name,
    ours: `${amount(ours)} ${figure.unit}`,
    floor: floor === undefined || !figure.floor ? "–" : `${amount(floor)} (${figure.floor.name})`,
    ratio: ratio ? `${amount(ratio.median)} (${amount(ratio.low)}–${amount(ratio.high)})` : spreadOf(figure.product),
    goal: figure.goal ? goalText(figure.goal, figure.unit) : "–",
    met: met === undefined ? "" : met ? "met" : "missed",
  };
}

function goalText({ of, is, limit }: Goal, unit: string): string {
  return `${is === "at least" ? "≥" : "≤"} ${limit}${of === "ratio" ? " ×" : ` ${unit}`}`;
}

/** Where there is no floor: between which numbers ours were. */
function spreadOf(numbers: readonly number[]): string {
  return numbers.length < 2 ? "–" : `(${amount(Math.min(...numbers))}–${amount(Math.max(...numbers))})`;
}

/** Three significant digits, and thousands with a comma. */
function amount(number: number): string {
  if (number >= 1000) return Math.round(number).toLocaleString("en-US");
  return String(Number(number.toPrecision(3)));
}

/** For the terminal. */
export function printed(figures: readonly Figure[]): string {
  const notes = figures.flatMap((figure) => (figure.notes ? [`${figure.name}: ${figure.notes}`] : []));
  return [Bun.inspect.table(figures.map(lineOf)), ...notes].join("\n");
}

const heading = `# Performance

What Leadcast does with its pace lifted, beside what the same machine does with the bare means: see \`bench/\`. Each round runs
both sides, taking turns in going first; the ratio is the median of the rounds' ratios, with the smallest and the largest behind
it. Look at ratios: absolute numbers are this machine's.
`;

/** Replaces the sections of the rows that ran and leaves the others. */
export function writeReport(results: readonly RowResult[], { rounds }: { rounds: number }): void {
  const sections = sectionsOf(readOr(path));
  for (const result of results) sections.set(result.row.name, section(result, rounds));
  writeFileSync(path, [heading, ...sections.values()].join("\n"));
}

function section({ row, figures }: RowResult, rounds: number): string {
  const lines = figures.map(lineOf);
  const table = lines.map((line) => `| ${Object.values(line).join(" | ")} |`);
  const notes = figures.flatMap((figure) => (figure.notes ? [`- ${figure.name}: ${figure.notes}.`] : []));
  return `## ${row.name}

${machine()}, ${new Date().toISOString().slice(0, 10)}, ${rounds} ${rounds === 1 ? "round" : "rounds"}.

| | ours | floor | ratio (spread) | goal | |
| --- | --- | --- | --- | --- | --- |
${table.join("\n")}
${notes.length > 0 ? `\n${notes.join("\n")}\n` : ""}
${row.limits}
`;
}

function machine(): string {
  const processors = cpus();
  const model = processors[0]?.model.trim() || process.arch;
  return `${processors.length} × ${model}, ${Math.round(totalmem() / 2 ** 30)} GB, Bun ${Bun.version}, Postgres 18 with fsync on`;
}

/** The file's sections by their headings, in order. */
function sectionsOf(text: string): Map<string, string> {
  const parts = text.split(/^(?=## )/m).slice(1);
  return new Map(parts.map((part) => [/^## (.*)/.exec(part)![1]!, `${part.trimEnd()}\n`]));
}

function readOr(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
