import { beforeEach, describe, expect, test } from "bun:test";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "#test/support/folder.ts";

const root = join(import.meta.dirname, "../..");
const patchPath = join(root, "patches", "postgres@3.4.9.patch");
const files = ["src/connection.js", "src/index.js"] as const;

/** A repository with the patch and the package, as published, and nothing else. */
let folder: string;
beforeEach(() => {
  folder = temporaryFolder("patches");
  for (const name of ["scripts/patches.mjs", "patches", "node_modules/postgres"]) {
    mkdirSync(join(folder, name, ".."), { recursive: true });
    cpSync(join(root, name), join(folder, name), { recursive: true });
  }
  const undone = Bun.spawnSync(["git", "apply", "--reverse", patchPath], { cwd: packageFolder(), env: outsideGit() });
  expect(undone.stderr.toString()).toBe("");
});

/** Git finds no repository above and takes the folder for what it is. */
const outsideGit = () => ({ ...process.env, GIT_CEILING_DIRECTORIES: join(folder, "..") });
const packageFolder = () => join(folder, "node_modules", "postgres");
const pathOf = (file: string) => join(packageFolder(), file);
const contents = () => files.map((file) => readFileSync(pathOf(file), "utf8"));
const repaired = files.map((file) => readFileSync(join(root, "node_modules/postgres", file), "utf8"));

function apply() {
  const { exitCode, stderr } = Bun.spawnSync(["node", "scripts/patches.mjs"], { cwd: folder });
  return { exitCode, stderr: stderr.toString() };
}

describe("the patches", () => {
  test("make the published package the repaired one, and do nothing the second time", () => {
    expect(contents()).not.toEqual(repaired);

    expect(apply()).toEqual({ exitCode: 0, stderr: "" });
    expect(contents()).toEqual(repaired);
    expect(apply()).toEqual({ exitCode: 0, stderr: "" });
    expect(contents()).toEqual(repaired);
  });

  test("finish what was begun: one file of two, or some of a file's hunks", () => {
    const [published] = contents();
    apply();
    writeFileSync(pathOf(files[0]), published!);
    expect(apply().exitCode).toBe(0);
    expect(contents()).toEqual(repaired);

    writeFileSync(pathOf(files[0]), repaired[0]!.replace("    connection.heard++\n", ""));
    expect(apply().exitCode).toBe(0);
    expect(contents()).toEqual(repaired);
  });

  test("refuse a file that is cut short or altered, and then write nothing at all", () => {
    const [connection, index] = contents();
    for (const strange of ["", index!.slice(0, 9_000), `${index}// mine\n`]) {
      writeFileSync(pathOf(files[1]), strange);
      const { exitCode, stderr } = apply();
      expect(exitCode).toBe(1);
      expect(stderr).toBe(
        "src/index.js of postgres in node_modules is neither as published nor as patched: run `npm ci`, which installs it anew.\n",
      );
      expect(contents()).toEqual([connection!, strange]);
    }
  });

  test("refuse another version of the package, and name both", () => {
    writeFileSync(pathOf("package.json"), JSON.stringify({ name: "postgres", version: "3.5.0" }));
    const before = contents();

    const { exitCode, stderr } = apply();

    expect(exitCode).toBe(1);
    expect(stderr).toStartWith("postgres 3.5.0 is installed, and patches/postgres@3.4.9.patch is for 3.4.9: ");
    expect(contents()).toEqual(before);
  });

  test("are no concern of somebody who has not installed the package", () => {
    rmSync(packageFolder(), { recursive: true });

    expect(apply()).toEqual({ exitCode: 0, stderr: "" });
  });
});
