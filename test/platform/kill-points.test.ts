import { describe, expect, test } from "bun:test";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");
const program = `
  import { killPoint } from "#services/platform/kill-points.ts";
  for (let i = 1; i <= 3; i++) { killPoint("ack.before"); killPoint("claim.after-commit"); process.stdout.write(String(i)); }
`;

async function run(
  armed: string,
): Promise<{ out: string; signal: NodeJS.Signals | number | null; code: number | null }> {
  const child = Bun.spawn([process.execPath, "-e", program], {
    cwd: root,
    env: { ...process.env, LEADCAST_KILL_POINT: armed },
    stdout: "pipe",
    stderr: "ignore",
  });
  const out = await new Response(child.stdout).text();
  await child.exited;
  return { out, signal: child.signalCode, code: child.exitCode };
}

describe("killPoint", () => {
  test("does nothing where nothing is armed, and at points that are not", async () => {
    expect(await run("")).toMatchObject({ out: "123", code: 0 });
    expect(await run("request.before:1:kill9")).toMatchObject({ out: "123", code: 0 });
  });

  test("kills the process the nth time that its point is passed, before anything that follows", async () => {
    expect(await run("claim.after-commit:2:kill9")).toMatchObject({ out: "1", signal: "SIGKILL" });
  });

  test("refuses what names no point, so that no test passes because of a slip", async () => {
    for (const slip of ["claim.after:1:kill9", "ack.before:0:kill9", "ack.before:1:pause", "ack.before"]) {
      expect((await run(slip)).code).toBe(1);
    }
  });
});
