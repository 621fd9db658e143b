import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { eventually } from "#test/support/eventually.ts";

const script = join(import.meta.dirname, "lifecycle-process.ts");

/** Starts the sample process; its output grows as it runs. */
function start(behaviour: string, env: Record<string, string> = {}) {
  const child = Bun.spawn([process.execPath, script, behaviour], {
    env: { ...process.env, ...env },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
  const output = { out: "", err: "" };
  const collect = async (stream: ReadableStream<Uint8Array>, name: "out" | "err") => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) output[name] += decoder.decode(chunk, { stream: true });
  };
  const collected = Promise.all([collect(child.stdout, "out"), collect(child.stderr, "err")]);
  const has = (text: string) => eventually(() => output.out.includes(text));
  const exit = async () => {
    await Promise.all([child.exited, collected]);
    return { code: child.exitCode, ...output };
  };
  return {
    child,
    has,
    exit,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

describe("runProcess", () => {
  test.each(["SIGTERM", "SIGINT"] as const)("announces itself, and drains in reverse order on %s", async (signal) => {
    await using process = start("runs", { ACCOUNT_PORT: "7777" });
    await process.has('"port":7777');
    process.child.kill(signal);
    const { code, out } = await process.exit();
    const messages = out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).msg);
    expect(messages).toEqual(["ready", "stopping", "second was stopped first", "stopped"]);
    expect(code).toBe(0);
  });

  test("exits at once on a second signal", async () => {
    await using process = start("hangs");
    await process.has("ready");
    process.child.kill("SIGTERM");
    await process.has("second was stopped first");
    process.child.kill("SIGTERM");
    expect((await process.exit()).code).toBe(1);
  });

  test("goes on without a part that does not stop in time, and says so", async () => {
    await using process = start("late");
    await process.has("ready");
    process.child.kill("SIGTERM");
    const { code, out } = await process.exit();
    expect(out).toContain('"part":"late"');
    expect(code).toBe(1);
  });

  test.each(["rejects", "throws"])("dies when something %s and nobody catches it", async (behaviour) => {
    await using process = start(behaviour);
    const { code, out } = await process.exit();
    expect(out).toContain("nobody caught an error");
    expect(code).toBe(1);
  });

  test("prints every problem of its configuration, without a stack, and exits 78", async () => {
    await using process = start("runs", { ACCOUNT_PORT: "x", ACCOUNT_URL: "y" });
    const { code, err, out } = await process.exit();
    expect(err.trim().split("\n")).toEqual([
      "sample cannot start with this configuration:",
      'ACCOUNT_PORT: "x" is not an integer; expected a port number from 0 to 65535',
      "ACCOUNT_URL: the value is not a URL; expected a URL that begins with http:// or https://",
    ]);
    expect(out).toBe("");
    expect(code).toBe(78);
  });

  test("stops what was started when the start fails, and logs no secret", async () => {
    await using process = start("fails");
    const { code, out } = await process.exit();
    expect(out).toContain("no luck with [redacted]");
    expect(out).toContain("second was stopped first");
    expect(code).toBe(1);
  });

  test("drains when the supervisor that holds its stdin goes away", async () => {
    await using process = start("runs", { LEADCAST_PARENT_WATCH: "1" });
    await process.has("ready");
    await process.child.stdin.end();
    const { code, out } = await process.exit();
    expect(out).toContain('"cause":"parent"');
    expect(code).toBe(0);
  });
});
