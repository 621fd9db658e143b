import { endingOf, stopProcess, watchOver } from "#services/local/embedded/server-process.ts";
import { createEcho } from "./echo.ts";
import type { Running } from "./keeper.ts";
import { LogFile } from "./log-file.ts";

/** A drain lets what is on the wire finish: ten seconds for a message, a minute for an upload. */
const graceMs = 70_000;

export interface BunProcessOptions {
  name: string;
  /** Script and arguments. */
  command: string[];
  cwd: string;
  env: Record<string, string>;
  logPath: string;
  /** For a process that does not watch for our end itself. */
  watched?: boolean;
  say(line: string): void;
}

/**
 * Starts one of our processes. Its stdin is a pipe that only we hold, and LEADCAST_PARENT_WATCH tells it to stop when
 * that closes, so it never outlives us. Its session is its own: Ctrl-C reaches us alone, and we stop things in order.
 */
export function startBunProcess(options: BunProcessOptions): Running {
  const child = Bun.spawn([process.execPath, ...options.command], {
    cwd: options.cwd,
    env: { ...options.env, LEADCAST_PARENT_WATCH: "1" },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
  });
  const watcher = options.watched ? watchOver(child.pid, "SIGTERM") : undefined;
  const log = new LogFile(options.logPath);
  const echo = createEcho(options.name, options.say);
  const written = Promise.all([record(child.stdout, log, echo.takeOutput), record(child.stderr, log, echo.takeErrors)]);
  const exited = child.exited.then(async () => {
    watcher?.kill("SIGKILL");
    await written;
    log.close();
    return { ending: endingOf(child), lastWords: echo.lastWords() };
  });
  return {
    pid: child.pid,
    exited,
    stop: async () => {
      await stopProcess(child, "SIGTERM", graceMs);
      await exited;
    },
    kill: () => child.kill("SIGKILL"),
  };
}

async function record(output: ReadableStream<Uint8Array>, log: LogFile, take: (text: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  for await (const chunk of output) {
    log.write(chunk);
    take(decoder.decode(chunk, { stream: true }));
  }
}
