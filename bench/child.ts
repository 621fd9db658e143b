/** Processes of the bench's own: what runs side by side in production does so here. */
import { join } from "node:path";
import { stopProcess } from "#services/local/embedded/server-process.ts";

export interface Child {
  readonly pid: number;
  /** Calls one of the functions that it offers (`answerParent`). */
  ask<T>(call: string, argument?: unknown): Promise<T>;
  /** Ends it gently. Safe twice. */
  stop(): Promise<void>;
}

interface Answer {
  id: number;
  result?: unknown;
  error?: string;
}

const root = join(import.meta.dirname, "..");
const drainMs = 30_000;
/** For a child whose parent is gone. */
const ABANDONED_MS = 5_000;

/**
 * Starts a script of `bench/processes/`, with this environment besides the bench's own, and waits until it is ready. With BENCH_PROFILE=<script> its processor profile is
 * written to the working directory when it ends.
 */
export async function startChild(
  script: string,
  options: object = {},
  environment: Readonly<Record<string, string>> = {},
): Promise<Child> {
  const profile = process.env.BENCH_PROFILE === script ? ["--cpu-prof"] : [];
  const waiting = new Map<number, PromiseWithResolvers<unknown>>();
  const ready = Promise.withResolvers<unknown>();
  waiting.set(0, ready);
  const child = Bun.spawn([process.execPath, ...profile, join(root, "bench/processes", `${script}.ts`)], {
    cwd: profile.length > 0 ? process.cwd() : root,
    env: { ...environment, ...process.env, BENCH_OPTIONS: JSON.stringify(options) },
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
    ipc: ({ id, result, error }: Answer) => {
      const caller = waiting.get(id);
      waiting.delete(id);
      if (error === undefined) caller?.resolve(result);
      else caller?.reject(new Error(`${script}: ${error}`));
    },
    onExit: (_, code) => {
      for (const { reject } of waiting.values()) reject(new Error(`${script} ended with exit code ${code}.`));
    },
  });
  await ready.promise;
  let asked = 0;
  const ask = <T>(call: string, argument?: unknown): Promise<T> => {
    const answer = Promise.withResolvers<unknown>();
    waiting.set(++asked, answer);
    child.send({ id: asked, call, argument });
    return answer.promise as Promise<T>;
  };
  return { pid: child.pid, ask, stop: () => stopProcess(child, "SIGTERM", drainMs) };
}

/** The options that `startChild` was given. */
export function childOptions<T>(): T {
  return JSON.parse(process.env.BENCH_OPTIONS ?? "{}") as T;
}

/** In a child: says that it is ready, and answers calls until it is stopped or its parent is gone. */
export function answerParent(
  calls: Record<string, (argument: never) => unknown>,
  stop: () => Promise<void> = async () => {},
): void {
  const end = () => void stop().then(() => process.exit(0));
  // Whoever is gone may have taken Postgres along, and what waits for that would wait for ever.
  const abandoned = () => {
    setTimeout(() => process.exit(1), ABANDONED_MS);
    end();
  };
  process.on("message", ({ id, call, argument }: { id: number; call: string; argument: never }) => {
    const answer = async () => await calls[call]!(argument);
    answer().then(
      (result) => process.send!({ id, result }),
      (error) => process.send!({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    );
  });
  process.once("SIGTERM", end);
  process.once("disconnect", abandoned);
  process.send!({ id: 0 });
}
