import { join } from "node:path";

export interface ServiceProcess {
  /** What its `ready` line announced. */
  port: number;
  /** SIGTERM, and the exit code that follows. */
  stop(): Promise<number>;
}

const root = join(import.meta.dirname, "../..");

function spawn(main: string, env: Record<string, string>) {
  return Bun.spawn([process.execPath, join(root, main)], {
    cwd: root,
    env: { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "", ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
}

/**
 * Runs a process's `main.ts` with this environment and nothing else, until it is ready.
 * @throws with what it printed if it ends before that.
 */
export async function startService(main: string, env: Record<string, string>): Promise<ServiceProcess> {
  const child = spawn(main, env);
  let seen = "";
  const decoder = new TextDecoder();
  const reader = child.stdout.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`${main} ended before it was ready: ${seen}${await new Response(child.stderr).text()}`);
    seen += decoder.decode(value, { stream: true });
    const ready = seen.split("\n").find((line) => line.includes('"msg":"ready"') && line.endsWith("}"));
    if (ready === undefined) continue;
    void drain(reader);
    return {
      port: (JSON.parse(ready) as { port: number }).port,
      stop: () => {
        child.kill("SIGTERM");
        return child.exited;
      },
    };
  }
}

/** A pipe that nobody reads would block the child. */
async function drain(reader: { read(): Promise<{ done: boolean }> }): Promise<void> {
  while (!(await reader.read()).done);
}

/** Runs a `main.ts` that is expected to give up. */
export async function runService(
  main: string,
  env: Record<string, string>,
): Promise<{ exitCode: number; stderr: string }> {
  const child = spawn(main, env);
  const stderr = await new Response(child.stderr).text();
  return { exitCode: await child.exited, stderr };
}
