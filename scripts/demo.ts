/** `npm run demo`: one broadcast to the demo account's leads, on the system that `npm start` runs. */
import { resolve } from "node:path";
import { SingleBar } from "cli-progress";
import { createSandboxClient } from "#services/local/sandbox/client.ts";
import type { BotReport } from "#services/local/sandbox/control.ts";
import { type RunningSystem, readRunning } from "#services/local/supervisor/running.ts";
import { readOr } from "#services/local/supervisor/secrets.ts";
import { dataPaths } from "#services/local/supervisor/settings.ts";
import { onParentGone } from "./parent.ts";

/** The outcome is nobody's bug: one sentence is enough. */
class DemoError extends Error {}

interface Progress {
  /** 1 running, 2 done, 3 cancelled, 4 paused. */
  status: number;
  sent: number;
  queued: number;
  failed: number;
  unconfirmed: number;
  dropped: number;
  pause_reason: string;
  waiting: { message: string }[];
  rate: number;
  eta: number | null;
}

type Call = <T>(path: string, form?: Record<string, string>) => Promise<T>;

const folder = resolve(import.meta.dirname, "..", process.env.LEADCAST_DATA || ".data");
const running = 1;
const done = 2;
const pollIntervalMs = 1_000;

async function main(): Promise<void> {
  const { system, call } = await findSystem();
  const sandbox = system.sandbox === undefined ? undefined : createSandboxClient(system.sandbox);
  const before = (await sandbox?.bots()) ?? [];
  const { id } = await call<{ id: number }>("broadcast/add.json", { name: "Demo" });
  await call("broadcast/edit.json", {
    id: String(id),
    name: "Demo",
    statuses: "31",
    text: "Hello {user} 👋\n*20% off* until Sunday, only for you. Your code: `{campaign}-{lead}`",
    button: "Claim",
    link: "https://example.com/back?click={click}",
  });
  const { queued } = await call<{ queued: number }>("broadcast/start.json", { id: String(id) });
  if (queued === 0)
    throw new DemoError("The demo account has no lead left to reach: remove the data folder to begin anew.");
  process.stdout.write(`Broadcast ${id} started: ${queued} leads.\n`);
  const startedAt = performance.now();
  const progress = await watch(call, id, queued);
  const seconds = (performance.now() - startedAt) / 1000;
  printSummary(progress, seconds, before, (await sandbox?.bots()) ?? []);
  if (progress.status !== done) throw new DemoError(`The broadcast has not ended: ${whyNot(progress)}.`);
}

async function findSystem(): Promise<{ system: RunningSystem; call: Call }> {
  const system = readRunning(folder);
  const session = readOr(dataPaths(folder).session, "").trim();
  if (system === undefined || !(await answers(system.gateway))) {
    throw new DemoError("Leadcast is not running: begin with `npm start` in another terminal.");
  }
  if (session === "") throw new DemoError("There is no demo account here: `npm start` makes one on its own database.");
  return { system, call: createCall(system.gateway, session) };
}

async function answers(gateway: string): Promise<boolean> {
  try {
    return (await fetch(`${gateway}/healthz`, { signal: AbortSignal.timeout(2_000) })).ok;
  } catch {
    return false;
  }
}

function createCall(gateway: string, session: string): Call {
  return async <T>(path: string, form?: Record<string, string>) => {
    const reply = await fetch(`${gateway}/api/${path}`, {
      headers: { Authorization: `Bearer ${session}` },
      ...(form === undefined ? {} : { method: "POST", body: new URLSearchParams(form) }),
    });
    const body = (await reply.json()) as { status: string; error?: string; message?: string; data?: T };
    if (body.status !== "ok") throw new DemoError(`${path}: ${body.message ?? body.error}`);
    return body.data as T;
  };
}

/** A line every second, or a bar where there is a terminal to draw it on. Returns when nothing moves any more. */
async function watch(call: Call, id: number, total: number): Promise<Progress> {
  const show = process.stdout.isTTY ? bar(total) : lines(total);
  for (;;) {
    const progress = await call<Progress>(`broadcast/progress.json?id=${id}`);
    show.update(progress);
    if (progress.status !== running) {
      show.stop();
      return progress;
    }
    await Bun.sleep(pollIntervalMs);
  }
}

interface Show {
  update(progress: Progress): void;
  stop(): void;
}

function bar(total: number): Show {
  const drawn = new SingleBar({
    format: "{bar} {percentage}%  {value}/{total}  {rate}/s  {eta_text}  {note}",
    barCompleteChar: "█",
    barIncompleteChar: "░",
    barsize: 30,
    hideCursor: true,
  });
  drawn.start(total, 0, { rate: "0", eta_text: "", note: "" });
  return {
    update: (progress) =>
      drawn.update(total - progress.queued, {
        rate: progress.rate.toFixed(0),
        eta_text: etaText(progress),
        note: progress.waiting[0]?.message ?? "",
      }),
    stop: () => drawn.stop(),
  };
}

function lines(total: number): Show {
  return {
    update: (progress) => {
      const parts = [`${total - progress.queued}/${total}`, `${progress.rate.toFixed(0)}/s`, etaText(progress)];
      process.stdout.write(`${parts.filter((part) => part !== "").join("  ")}\n`);
    },
    stop: () => {},
  };
}

function etaText({ eta }: Progress): string {
  return eta === null || eta === 0 ? "" : `${eta} s left`;
}

function printSummary(progress: Progress, seconds: number, before: BotReport[], after: BotReport[]): void {
  const rows: [string, string][] = [
    ["sent", String(progress.sent)],
    ["failed", String(progress.failed)],
    ["  of them unconfirmed", String(progress.unconfirmed)],
    ["dropped", String(progress.dropped)],
    ...refusedRows(before, after),
    ["duration", `${seconds.toFixed(1)} s`],
    ["rate", `${(progress.sent / seconds).toFixed(1)} a second`],
    ...after.map((report): [string, string] => [
      `busiest second of bot ${report.bot}`,
      `${report.busiestSecond.accepted} accepted, ${report.busiestSecond.arrived} arrived`,
    ]),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  process.stdout.write(`\n${rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join("\n")}\n`);
}

/** What the stand-in Bot API refused meanwhile, by kind. */
function refusedRows(before: BotReport[], after: BotReport[]): [string, string][] {
  const total = (reports: BotReport[], kind: string) =>
    reports.reduce((sum, report) => sum + (report.refused[kind] ?? 0), 0);
  const kinds = [...new Set(after.flatMap((report) => Object.keys(report.refused)))];
  return kinds
    .map((kind): [string, number] => [kind, total(after, kind) - total(before, kind)])
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => [`  refused: ${kind}`, String(count)]);
}

function whyNot(progress: Progress): string {
  return progress.pause_reason || (progress.status === 4 ? "somebody paused it" : "somebody cancelled it");
}

function leave(): void {
  process.stdout.write("\nThe broadcast goes on without us.\n");
  process.exit(130);
}

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, leave);
onParentGone(() => process.exit(1));
await main().then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(`${error instanceof DemoError ? error.message : (error?.stack ?? error)}\n`);
    process.exit(1);
  },
);
