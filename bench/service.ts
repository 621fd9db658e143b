/** Our real processes, each from its own `main.ts`, as `npm start` runs them. */
import { join } from "node:path";
import { stopProcess } from "#services/local/embedded/server-process.ts";

export interface Service {
  readonly pid: number;
  readonly url: string;
  stop(): Promise<void>;
}

const root = join(import.meta.dirname, "..");
const drainMs = 30_000;

/** Runs a `main.ts` with this environment, on a free port, until it is ready. */
export async function startService(main: string, env: Record<string, string>): Promise<Service> {
  const { PATH = "", HOME = "" } = process.env;
  const child = Bun.spawn([process.execPath, join(root, main)], {
    cwd: root,
    env: { PATH, HOME, LEADCAST_PARENT_WATCH: "1", ...env },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const ready = Promise.withResolvers<number>();
  void readLines(child.stdout, (line) => {
    if (line.includes('"msg":"ready"')) ready.resolve((JSON.parse(line) as { port: number }).port);
    else if (/"level":(50|60)/.test(line)) process.stderr.write(`${line}\n`);
  }).then(() => ready.reject(new Error(`${main} ended before it was ready.`)));
  const url = `http://127.0.0.1:${await ready.promise}`;
  return { pid: child.pid, url, stop: () => stopProcess(child, "SIGTERM", drainMs) };
}

async function readLines(output: ReadableStream<Uint8Array>, take: (line: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of output) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) take(line);
  }
}
