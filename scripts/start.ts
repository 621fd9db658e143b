/** `npm start`: see services/local/supervisor/supervisor.ts. */
import { join } from "node:path";
import { SetupError } from "#services/local/embedded/setup-error.ts";
import { readSettings } from "#services/local/supervisor/settings.ts";
import { Supervisor } from "#services/local/supervisor/supervisor.ts";
import { ConfigError } from "#services/platform/config.ts";
import { onParentGone } from "./parent.ts";

/** npm and the terminal both pass Ctrl-C on, so one press can arrive more than once. */
const onePressMs = 1_500;

const root = join(import.meta.dirname, "..");
let stoppingSince: number | undefined;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function complain(error: unknown): void {
  if (error instanceof ConfigError) process.stderr.write(`${error.problems.join("\n")}\n`);
  else if (error instanceof SetupError) process.stderr.write(`${error.message}\n`);
  else process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : error}\n`);
}

function stopOn(supervisor: Supervisor): () => void {
  return () => {
    const now = performance.now();
    if (stoppingSince === undefined) {
      stoppingSince = now;
      say("\nStopping …");
      void supervisor.stop().then(() => {
        say("Stopped.");
        process.exit(0);
      });
    } else if (now - stoppingSince > onePressMs) {
      supervisor.kill();
      say("Killed.");
      process.exit(1);
    }
  };
}

async function main(): Promise<void> {
  const supervisor = new Supervisor({ settings: readSettings(process.env, root), root, say });
  const stop = stopOn(supervisor);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
  onParentGone(stop);
  try {
    await supervisor.start();
  } catch (error) {
    // A start that was interrupted fails somewhere; the stop that is under way ends the process.
    if (stoppingSince !== undefined) return;
    complain(error);
    await supervisor.stop();
    process.exit(1);
  }
}

await main().catch((error) => {
  complain(error);
  process.exit(1);
});
