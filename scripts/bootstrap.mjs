/**
 * From a fresh clone to a running script, with nothing but Node 20 and npm:
 *
 *   node scripts/bootstrap.mjs <script.ts> [arguments]
 *
 * installs the locked packages if they are missing or not the locked ones (Bun is one of them), then runs the script in
 * Bun and passes signals and the exit code through. Plain JavaScript without dependencies, for nothing else is there yet.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { applyPatches, PatchError } from "./patches.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const modules = join(root, "node_modules");
const lockPath = join(root, "package-lock.json");
const stampPath = join(modules, ".leadcast-installed");
const bun = join(modules, ".bin", "bun");
const oldestNode = 20;

/** Makes `node_modules` what package-lock.json says, and Bun runnable. Ends the process with a sentence if it cannot. */
export function ensureInstalled() {
  const node = Number.parseInt(process.versions.node, 10);
  if (node < oldestNode) fail(`Leadcast needs Node ${oldestNode} or newer; this is ${process.versions.node}.`);
  const lock = readFileSync(lockPath, "utf8");
  const stamp = createHash("sha256").update(lock).digest("hex");
  if (read(stampPath) === stamp && runs(bun)) return patch();
  if (!isInstalled(JSON.parse(lock))) install();
  if (!runs(bun)) repairBun();
  patch();
  writeFileSync(stampPath, stamp);
}

/** npm keeps its own record of what it has put into node_modules; no need to install what somebody just installed. */
function isInstalled(lock) {
  const record = read(join(modules, ".package-lock.json"));
  if (record === undefined) return false;
  const present = JSON.parse(record).packages ?? {};
  return Object.entries(lock.packages).every(([path, wanted]) => {
    if (path === "") return true;
    const optional = wanted.optional || wanted.devOptional || wanted.peer;
    return present[path] === undefined ? optional : present[path].version === wanted.version;
  });
}

function install() {
  process.stderr.write("Installing the locked packages (once) …\n");
  // A NODE_ENV=production from outside must not leave Bun out, which is a development dependency.
  const args = ["ci", "--include=dev", "--include=optional", "--no-audit", "--no-fund", "--loglevel=error"];
  const npm = process.env.npm_execpath?.endsWith(".js") ? [process.execPath, process.env.npm_execpath] : ["npm"];
  const [command, ...first] = npm;
  const result = spawnSync(command, [...first, ...args], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
    env: { ...process.env, SCARF_ANALYTICS: "false" },
  });
  if (result.status === 0) return;
  process.stderr.write(`${result.stdout ?? ""}${result.stderr ?? ""}\n`);
  if (result.signal) process.exit(128 + (constants.signals[result.signal] ?? 0));
  fail("`npm ci` failed; its own words are above. Put that right (it needs a way to the npm registry) and try again.");
}

/** A package that was half patched, cut short or altered is installed anew; one that no patch was made for ends the process. */
function patch() {
  try {
    return applyPatches();
  } catch (error) {
    if (!(error instanceof PatchError)) throw error;
    process.stderr.write(`${error.message}\n`);
  }
  install();
  if (!runs(bun)) repairBun();
  try {
    applyPatches();
  } catch (error) {
    fail(error.message);
  }
}

/** Bun's binary is put in place by its install script, which some npm settings suppress. */
function repairBun() {
  spawnSync(process.execPath, [join(modules, "bun", "install.js")], { cwd: join(modules, "bun"), stdio: "ignore" });
  if (runs(bun)) return;
  fail("Bun is installed but does not run: allow npm's install scripts (ignore-scripts=false), then `npm ci`.");
}

function runs(binary) {
  return existsSync(binary) && spawnSync(binary, ["--version"], { stdio: "ignore" }).status === 0;
}

function read(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function fail(sentence) {
  process.stderr.write(`${sentence}\n`);
  process.exit(1);
}

/**
 * Runs the script with a pipe for its stdin that only this process holds: when we are gone, even by kill -9, the script
 * reads the end of it and stops what it has started (scripts/parent.ts).
 */
function run(script, args) {
  const child = spawn(bun, [script, ...args], {
    cwd: root,
    stdio: ["pipe", "inherit", "inherit"],
    env: { ...process.env, SCARF_ANALYTICS: "false", LEADCAST_BOOTSTRAP: "1" },
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  stopWithNpm(child);
  child.on("error", (error) => fail(`Bun does not start: ${error.message}`));
  child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}

/**
 * Nobody hears of it when npm is killed with -9, but then we, or the shell that npm has put in between, are somebody
 * else's child all at once.
 */
function stopWithNpm(child) {
  if (process.env.npm_lifecycle_event === undefined) return;
  const started = ancestry();
  setInterval(() => {
    if (ancestry() !== started) child.kill("SIGTERM");
  }, 200).unref();
}

function ancestry() {
  const parent = process.ppid;
  const [, name, , grandparent] = /^\d+ \((.*)\) (\S) (\d+) /.exec(read(`/proc/${parent}/stat`) ?? "") ?? [];
  return /^(sh|dash|ash|bash|busybox)$/.test(name ?? "") ? `${parent} ${grandparent}` : `${parent}`;
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const [script, ...args] = process.argv.slice(2);
  if (script === undefined) fail("usage: node scripts/bootstrap.mjs <script.ts> [arguments]");
  ensureInstalled();
  run(script, args);
}
