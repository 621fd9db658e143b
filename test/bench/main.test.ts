import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { rows } from "../../bench/rows/index.ts";

const root = join(import.meta.dirname, "../..");

/** Every row once with tiny amounts; most of the time goes into starting and stopping processes. */
const timeoutMs = 240_000;

describe("npm run bench -- --quick", () => {
  test(
    "runs every row beside its floor",
    async () => {
      const bench = Bun.spawn([process.execPath, join(root, "bench/main.ts"), "--quick"], {
        cwd: root,
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
      });
      const [printed, told] = await Promise.all([
        new Response(bench.stdout).text(),
        new Response(bench.stderr).text(),
        bench.exited,
      ]);
      expect({ exitCode: bench.exitCode, told }).toEqual({ exitCode: 0, told });
      for (const { name } of rows) expect(told).toContain(`${name}\n`);
      expect(printed).toContain("bare grammY loop");
    },
    timeoutMs,
  );
});

describe("npm run bench -- --only", () => {
  test("refuses a row that there is not, and names those that there are", async () => {
    const bench = Bun.spawn([process.execPath, join(root, "bench/main.ts"), "--only", "nothing"], {
      cwd: root,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const told = await new Response(bench.stderr).text();
    expect(await bench.exited).toBe(1);
    expect(told).toContain("There is no row nothing");
    for (const { name } of rows) expect(told).toContain(name);
  });
});
