/** `npm run format`: writes code and schemas the way the checks want them. */
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const path = `${join(root, "node_modules", ".bin")}:${process.env.PATH ?? ""}`;

for (const command of [
  ["biome", "check", "--write", "."],
  ["buf", "format", "--write", "proto"],
]) {
  const result = Bun.spawnSync(command, {
    cwd: root,
    env: { ...process.env, PATH: path },
    stdout: "inherit",
    stderr: "inherit",
  });
  if (!result.success) process.exitCode = 1;
}
