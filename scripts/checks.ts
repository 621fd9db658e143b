/** What `npm test` and `npm run check` look at before any test runs. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import type { Check, CheckResult } from "./check.ts";
import { type Lock, lockProblems } from "./lock.ts";
import { checkVulnerabilities } from "./vulnerabilities.ts";

export const root = join(import.meta.dirname, "..");

export const checks: Check[] = [
  { name: "generated code is current", run: () => inTemporaryFolder(generatedIsCurrent) },
  { name: "migrations are current", run: () => inTemporaryFolder(migrationsAreCurrent) },
  { name: "buf lint", run: () => command(["buf", "lint"]) },
  { name: "buf format", run: () => command(["buf", "format", "--diff", "--exit-code", "proto"]) },
  { name: "buf breaking", run: () => inTemporaryFolder(nothingBreaks) },
  { name: "biome check", run: () => command(["biome", "check", "."]) },
  { name: "tsc", run: () => command(["tsc", "--noEmit"]) },
  { name: "package-lock.json is pinned", run: lockIsPinned },
  { name: "known vulnerabilities", run: () => checkVulnerabilities(root, readLock()) },
];

/** Runs a tool of node_modules or the system in the repository. */
function command(words: string[], cwd = root): CheckResult {
  const result = spawn(words, cwd);
  return result.ok ? { passed: true } : { passed: false, output: result.output };
}

function spawn(words: string[], cwd = root): { ok: boolean; output: string } {
  const path = `${join(root, "node_modules", ".bin")}:${process.env.PATH ?? ""}`;
  try {
    const result = Bun.spawnSync(words, {
      cwd,
      env: { ...process.env, PATH: path },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    return { ok: result.success, output: `${result.stdout}${result.stderr}`.trim() };
  } catch (error) {
    return { ok: false, output: String(error) };
  }
}

function inTemporaryFolder(run: (folder: string) => CheckResult): CheckResult {
  const folder = mkdtempSync(join(tmpdir(), "leadcast-check-"));
  try {
    return run(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Generates beside the working tree, which may hold changes that nobody has committed yet. */
function generatedIsCurrent(folder: string): CheckResult {
  const generated = spawn([process.execPath, "scripts/generate.ts", folder]);
  if (!generated.ok) return { passed: false, output: generated.output };
  const differing = differences(join(root, "gen"), join(folder, "gen"));
  if (differing.length === 0) return { passed: true };
  return { passed: false, output: `Run \`npm run generate\`; these differ:\n${differing.join("\n")}` };
}

function migrationsAreCurrent(folder: string): CheckResult {
  const source = join(root, "services", "core", "database");
  const copy = join(folder, "migrations");
  cpSync(join(source, "migrations"), copy, { recursive: true });
  const schema = ["--dialect", "postgresql", "--schema", relative(root, join(source, "schema", "index.ts"))];
  const generated = spawn(["drizzle-kit", "generate", ...schema, "--out", relative(root, copy)]);
  if (!generated.ok) return { passed: false, output: generated.output };
  const added = differences(join(source, "migrations"), copy);
  if (added.length === 0) return { passed: true };
  return { passed: false, output: "The schema has changes that no migration makes: run `npx drizzle-kit generate`." };
}

function readLock(): Lock {
  return JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as Lock;
}

function lockIsPinned(): CheckResult {
  const problems = lockProblems(readLock());
  return problems.length === 0 ? { passed: true } : { passed: false, output: problems.join("\n") };
}

/** Against the newest release, or else the previous commit: what somebody may already be calling. */
function nothingBreaks(folder: string): CheckResult {
  const base = ["git describe --tags --abbrev=0", "git rev-parse --verify --quiet HEAD~1"]
    .map((line) => spawn(line.split(" ")))
    .find((result) => result.ok)?.output;
  if (base === undefined) return { skipped: "no earlier commit to compare with" };
  const archive = join(folder, "base.tar");
  const archived = spawn(["git", "archive", "--output", archive, base, "proto", "buf.yaml"]);
  if (!archived.ok) return { skipped: `no contracts at ${base}` };
  mkdirSync(join(folder, "base", ".cache"), { recursive: true });
  const unpacked = spawn(["tar", "-xf", archive, "-C", join(folder, "base")]);
  if (!unpacked.ok) return { passed: false, output: unpacked.output };
  cpSync(join(root, ".cache", "proto"), join(folder, "base", ".cache", "proto"), { recursive: true });
  return command(["buf", "breaking", "--against", join(folder, "base")]);
}

/** Files that are not the same in both folders, as paths below them. */
function differences(one: string, other: string): string[] {
  const names = new Set([...filesBelow(one), ...filesBelow(other)]);
  return [...names].filter((name) => contentOf(join(one, name)) !== contentOf(join(other, name))).sort();
}

function filesBelow(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)));
}

function contentOf(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}
