/**
 * Applies `patches/<package>@<version>.patch` to `node_modules`, after each install and before each start. Plain JavaScript
 * without dependencies: it runs when nothing else may be there.
 *
 * A patch is a unified diff below a text that says what it is for. A line `# <file> <SHA-256 before> <SHA-256 after>` for each
 * file decides:
 *
 *   before ──► patched in one rename ──► after        after ──► nothing to do
 *   some hunks only ──► the others are added, if that gives `after`
 *   anything else, or another version ──► PatchError: nothing is written
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, realpathSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** What is installed is not what a patch was made for. The message says what to do. */
export class PatchError extends Error {}

/**
 * Applies every patch of a folder. A package that is not installed is left out: production needs not all of them.
 * @throws PatchError
 */
export function applyPatches({ patches = join(root, "patches"), modules = join(root, "node_modules") } = {}) {
  for (const file of readdirSync(patches).filter((name) => name.endsWith(".patch"))) {
    const [, name, version] = /^(.+)@([^@]+)\.patch$/.exec(file);
    const folder = join(modules, ...name.split("+"));
    if (!existsSync(folder)) continue;
    checkVersion(name, version, folder);
    // All are worked out before the first is written.
    const changed = readPatch(readFileSync(join(patches, file), "utf8")).map((one) => patched(name, folder, one));
    for (const { path, text } of changed) if (text !== undefined) replaceFile(path, text);
  }
}

function checkVersion(name, version, folder) {
  const installed = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")).version;
  if (installed === version) return;
  throw new PatchError(
    `${name} ${installed} is installed, and patches/${name}@${version}.patch is for ${version}: install that version, or see ` +
      "whether the new one still needs the repairs and make its patch.",
  );
}

function readPatch(text) {
  const files = [...text.matchAll(/^# (\S+) ([0-9a-f]{64}) ([0-9a-f]{64})$/gm)];
  return files.map(([, path, before, after]) => ({ path, before, after, hunks: hunksOf(text, path) }));
}

/** What each hunk finds and what it leaves, as text; the context is in both. */
function hunksOf(text, path) {
  const lines = text.split("\n");
  const first = lines.indexOf(`+++ b/${path}`) + 1;
  const hunks = [];
  for (const line of lines.slice(first)) {
    if (line.startsWith("--- ")) break;
    if (line.startsWith("@@")) hunks.push({ from: "", to: "" });
    const hunk = hunks.at(-1);
    if (hunk === undefined || !/^[ +-]/.test(line)) continue;
    if (line[0] !== "+") hunk.from += `${line.slice(1)}\n`;
    if (line[0] !== "-") hunk.to += `${line.slice(1)}\n`;
  }
  return hunks;
}

/** The path of a file with what is to be written to it; no text if it is as it must be. */
function patched(name, folder, { path, before, after, hunks }) {
  const file = join(folder, path);
  const installed = existsSync(file) ? readFileSync(file, "utf8") : "";
  if (sha256(installed) === after) return { path: file };
  const text = hunks.reduce(
    (soFar, { from, to }) => (soFar.includes(to) ? soFar : soFar.replace(from, () => to)),
    installed,
  );
  if (sha256(text) === after) return { path: file, text };
  const state =
    sha256(installed) === before
      ? "as published, but its patch does not fit it"
      : "neither as published nor as patched";
  throw new PatchError(`${path} of ${name} in node_modules is ${state}: run \`npm ci\`, which installs it anew.`);
}

/** Whole or not at all, whoever is killed meanwhile; several may do it at once. */
function replaceFile(path, text) {
  const temporary = `${path}.${process.pid}.patched`;
  writeFileSync(temporary, text);
  renameSync(temporary, path);
}

function sha256(text) {
  return createHash("sha256").update(text).digest("hex");
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    applyPatches();
  } catch (error) {
    if (!(error instanceof PatchError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  }
}
