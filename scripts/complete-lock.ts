/**
 * `npm run complete-lock`: asks the registry for the hashes that package-lock.json lacks. npm leaves out those of packages for other
 * platforms, which it has never downloaded here.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Lock } from "./lock.ts";

const path = join(import.meta.dirname, "..", "package-lock.json");
const lock = JSON.parse(readFileSync(path, "utf8")) as Lock;
let missing = 0;

for (const [place, { version, integrity, ...rest }] of Object.entries(lock.packages)) {
  if (place === "" || integrity !== undefined) continue;
  const spec = `${place.slice(place.lastIndexOf("node_modules/") + "node_modules/".length)}@${version}`;
  const answer = Bun.spawnSync(["npm", "view", spec, "dist.integrity"], { stderr: "ignore" });
  const found = answer.stdout.toString().trim();
  if (found === "") missing++;
  else lock.packages[place] = { version, integrity: found, ...rest };
  process.stdout.write(`${spec}: ${found || "the registry has none; give the reason in scripts/lock.ts"}\n`);
}
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
process.exit(missing > 0 ? 1 : 0);
