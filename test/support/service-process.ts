import { join } from "node:path";
import { stopProcess } from "#services/local/embedded/server-process.ts";
import { runMark } from "../../scripts/leftovers.ts";

export interface ServiceProcess {
  readonly pid: number;
  /** What its `ready` line announced. */
  port: number;
  /** Where its `ready` line says that metrics are; undefined for the sandbox. */
  metricsUrl: string | undefined;
  /** SIGTERM, and the exit code that follows; 137 if it had to be killed. */
  stop(): Promise<number>;
  /** Ends it as a power cut would. */
  kill9(): Promise<void>;
  /** The last that it has printed, a few hundred lines at most. */
  output(): string;
}

const root = join(import.meta.dirname, "../..");
const keptCharacters = 64 * 1024;
/** More than any drain in a test takes; one that hangs fails the test by its exit code. */
const drainMs = 20_000;

function spawn(main: string, env: Record<string, string>) {
  const { PATH = "", HOME = "", [runMark]: run } = process.env;
  return Bun.spawn([process.execPath, join(root, main)], {
    cwd: root,
    // With these it ends when the test process does, however that ends, and is known as the test run's.
    env: { PATH, HOME, LEADCAST_PARENT_WATCH: "1", ...(run === undefined ? {} : { [runMark]: run }), ...env },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
}

/** The port in the line that says that a process serves; undefined in every other line. */
type ReadyPort = (line: string) => number | undefined;

function portOfReadyLine(line: string): number | undefined {
  return line.includes('"msg":"ready"') ? (JSON.parse(line) as { port: number }).port : undefined;
}

function metricsUrlOf(output: string): string | undefined {
  const ready = output.split("\n").find((line) => line.includes('"msg":"ready"'));
  return ready === undefined ? undefined : (JSON.parse(ready) as { metrics?: string }).metrics;
}

/**
 * Runs a process's `main.ts` with this environment and nothing else, until it is ready.
 * @throws with what it printed if it ends before that.
 */
export async function startService(
  main: string,
  env: Record<string, string>,
  readyPort: ReadyPort = portOfReadyLine,
): Promise<ServiceProcess> {
  const child = spawn(main, env);
  const ready = Promise.withResolvers<number>();
  let kept = "";
  const take = (line: string) => {
    kept = `${kept}${line}\n`.slice(-keptCharacters);
    const port = readyPort(line);
    if (port !== undefined) ready.resolve(port);
  };
  const written = Promise.all([eachLine(child.stdout, take), eachLine(child.stderr, take)]);
  void written.then(() => ready.reject(new Error(`${main} ended before it was ready: ${kept}`)));
  return {
    pid: child.pid,
    port: await ready.promise,
    metricsUrl: metricsUrlOf(kept),
    stop: async () => {
      await stopProcess(child, "SIGTERM", drainMs);
      return await child.exited;
    },
    kill9: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
    output: () => kept,
  };
}

/** Reads to the end: a pipe that nobody reads would block the child. */
async function eachLine(output: ReadableStream<Uint8Array>, take: (line: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of output) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) take(line);
  }
  if (rest !== "") take(rest);
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

/** The entry file of a process, relative to the top of the tree. */
export function mainOf(service: string): string {
  if (service === "gateway") return "gateway/main.ts";
  return service === "sandbox" ? "services/local/sandbox/main.ts" : `services/${service}/main.ts`;
}
