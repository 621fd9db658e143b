/** The named scenarios, and how what they found is told. */
import { cap } from "./cap.ts";
import { jitter } from "./jitter.ts";
import { leak } from "./leak.ts";
import { natsKills, sigterm } from "./no-doubt.ts";
import type { Scenario, ScenarioReport } from "./scenario.ts";
import { storm } from "./storm.ts";
import { takeover } from "./takeover.ts";
import { wipe } from "./wipe.ts";

export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  cap,
  wipe,
  takeover,
  "nats-kills": natsKills,
  sigterm,
  storm,
  jitter,
  leak,
};

export interface ScenarioRuns {
  name: string;
  /** Empty for all of them. */
  variant: string;
  seed: number;
  runs: number;
  short: boolean;
  say: (line: string) => void;
}

/** One line for each run, and one that sums them up. @returns whether nothing was violated. */
export async function runScenario({ name, variant, seed, runs, short, say }: ScenarioRuns): Promise<boolean> {
  const scenario = SCENARIOS[name];
  const variants = scenario?.variants.filter((one) => variant === "" || one === variant) ?? [];
  if (!scenario || variants.length === 0) throw new Error(`There is no such scenario; there are: ${known()}.`);
  const reports = new Map<string, ScenarioReport[]>(variants.map((one) => [one, []]));
  for (let one = seed; one < seed + runs; one++) {
    for (const variantOfRun of variants) {
      const startedAt = performance.now();
      const report = await scenario.run({ seed: one, variant: variantOfRun, short });
      reports.get(variantOfRun)!.push(report);
      const took = Math.round((performance.now() - startedAt) / 1000);
      sayRun(`${name} ${variantOfRun}, seed ${one}, ${took} s`, report, say);
      const again = `npm run chaos -- --scenario ${name} --variant ${variantOfRun} --seed ${one}${short ? " --short" : ""}`;
      if (report.violations.length > 0) say(`  again: ${again}`);
    }
  }
  for (const [variantOfRuns, of] of reports) say(summary(`${name} ${variantOfRuns}`, of));
  return [...reports.values()].flat().every((report) => report.violations.length === 0);
}

function known(): string {
  return Object.entries(SCENARIOS)
    .map(([name, { variants }]) => `${name} (${variants.join(", ")})`)
    .join("; ");
}

function sayRun(title: string, { figures, violations, details }: ScenarioReport, say: (line: string) => void): void {
  const shown = Object.entries(figures).map(([what, value]) => `${what} ${value}`);
  say(`${title}: ${shown.join(", ")}; ${violations.length === 0 ? "ok" : `${violations.length} violations`}`);
  for (const line of details ?? []) say(`  ${line}`);
  for (const violation of violations) say(`  BROKEN: ${violation}`);
}

/** Every figure from its least to its most. */
function summary(title: string, reports: readonly ScenarioReport[]): string {
  const violations = reports.reduce((sum, report) => sum + report.violations.length, 0);
  const names = new Set(reports.flatMap(({ figures }) => Object.keys(figures)));
  const ranges = [...names].map((name) => {
    const values = reports.map(({ figures }) => figures[name]).filter((value) => value !== undefined);
    const [least, most] = [Math.min(...values), Math.max(...values)];
    return `${name} ${least === most ? least : `${least} to ${most}`}`;
  });
  return `TOTAL ${title}: ${reports.length} runs, ${violations} violations; ${ranges.join(", ")}`;
}
