/**
 * Kill points one by one: every replica of a small system is armed with a point of its own, a broadcast runs over everything
 * that the Bot API can answer, and each replica dies or freezes at its point while the others work on.
 */

import type { Answer } from "#services/local/sandbox/script.ts";
import type { KillAction, KillPoint } from "#services/platform/kill-points.ts";
import { eventually } from "../support/eventually.ts";
import { check, keepDeletedRows, type Verdict } from "./checker.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import { DELIVERY_POINTS, RELAY_POINTS, RPC_POINTS } from "./faults.ts";
import { Keeper } from "./keeper.ts";
import { createOwner, RestError, RUNNING, Tags } from "./owner.ts";
import { untilRest, untilShared } from "./rest.ts";

export interface PointCase {
  name: string;
  action: KillAction;
  /** One replica of delivery for each, and one of the broadcast service for each. */
  delivery: KillPoint[];
  broadcast: KillPoint[];
  /** What a replica that died is armed with when it comes back for the first time; "" for nothing. */
  afterwards: KillPoint | "";
  freezeMs: number;
}

export interface PointReport extends Verdict {
  /** Points that were never passed. */
  missed: KillPoint[];
}

/** Points that only a second death makes a process pass: somebody's claims must have been left open. */
const RESCUE: KillPoint[] = ["rescue.before-commit", "rescue.after-commit"];
const REST_TIMEOUT_MS = 90_000;
/** Past the lease, and past the rescue by so much that a replica which did not freeze is the one that rescues. */
const FREEZE_MS = 20_000;
/** A commit may bring rest, and its process pass the point after it a moment later. */
const LATE_PASS_MS = 3_000;

/** Every point under both actions, a few to a system. */
export function pointCases(): PointCase[] {
  const delivery = chunks([...DELIVERY_POINTS.filter((point) => !RESCUE.includes(point))], 3);
  // Whichever process comes first reviews or decides: alone, it is the one that is armed.
  const alone = [...RELAY_POINTS, ...RPC_POINTS].filter((point) => /^(review|decide)\./.test(point));
  const broadcast = [
    ...chunks(
      RELAY_POINTS.filter((point) => !alone.includes(point)),
      2,
    ),
    ...chunks(alone, 1),
  ];
  const actions: KillAction[] = ["kill9", "stop"];
  return actions.flatMap((action) => {
    const plain = Array.from({ length: Math.max(delivery.length, broadcast.length) }, (_, i) => ({
      delivery: delivery[i] ?? ["request.before" as const],
      broadcast: broadcast[i] ?? ["publish.before" as const],
      afterwards: "" as const,
    }));
    // Somebody must fall first. One that was killed comes back and may rescue; one that is frozen leaves it to the third.
    const rescues = RESCUE.map((rescue) => ({
      delivery: ["request.before", "claim.after-commit", ...(action === "stop" ? [rescue] : [])] satisfies KillPoint[],
      broadcast: ["publish.after" as const],
      afterwards: action === "stop" ? ("" as const) : rescue,
    }));
    return [...plain, ...rescues].map((points) => ({
      ...points,
      name: `${action} at ${[...points.delivery, ...points.broadcast, points.afterwards].filter(Boolean).join(", ")}`,
      action,
      freezeMs: FREEZE_MS,
    }));
  });
}

function chunks<T>(list: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size));
}

/** Every answer for one chat in thirteen, in turn; the rest are said yes to. */
const ANSWERS: (Answer & object)[] = [
  { error: "blocked" },
  { error: "deactivated" },
  { error: "chat_not_found" },
  { error: "cant_send" },
  { error: "bad_button" },
  { error: "retry_after", retryAfterSeconds: 1 },
  { error: "server_error", status: 500 },
  { error: "server_error", status: 502, accepted: true },
  { cut: true },
  { cut: true, accepted: true },
  { hang: true, accepted: true },
];
const FOR_GOOD = 5;

/** One broadcast through a system whose replicas fall at their points. */
export async function runPoint(one: PointCase): Promise<PointReport> {
  const cluster = await startCluster({
    delivery: one.delivery.length,
    broadcast: one.broadcast.length,
    ownPostgres: false,
    armed: armedNames(one),
  });
  try {
    return await runArmed(cluster, one);
  } finally {
    await cluster.stop();
  }
}

function armedNames({ delivery, broadcast, action }: PointCase): Record<string, string> {
  const named = (service: string, points: KillPoint[]) =>
    points.map((point, i) => [`${service}-${i + 1}`, `${point}:${nthOf(point)}:${action}`] as const);
  return Object.fromEntries([...named("delivery", delivery), ...named("broadcast", broadcast)]);
}

/** In the middle of things where a point is passed once for each message. */
function nthOf(point: KillPoint): number {
  return /^(intake|request)\./.test(point) ? 5 : /^(claim|settle|ack|publish)\./.test(point) ? 2 : 1;
}

async function runArmed(cluster: Cluster, one: PointCase): Promise<PointReport> {
  const tags = new Tags();
  await keepDeletedRows(cluster.sql);
  // Bots of as many shards, so that each replica has some however the shards are shared.
  const owner = await createOwner(cluster, tags, {
    botIds: Array.from({ length: 16 }, (_, i) => i * 2 + 1),
    leadsPerBot: 26,
    messagesPerSecond: 60,
    dailyCap: 0,
    firstChat: 1,
  });
  await scriptEveryAnswer(
    cluster,
    owner.bots.flatMap((bot) => bot.chats),
  );
  await untilShared(cluster);
  const again = new Set([...cluster.deliveries]);
  const keeper = new Keeper(cluster, {
    armed: armedNames(one),
    arm: (name) => (again.delete(name) && one.afterwards !== "" ? `${one.afterwards}:1:${one.action}` : ""),
    freezeMs: () => one.freezeMs,
  });
  const main = await owner.createBroadcast();
  await owner.start(main).catch(ignoreState);
  const rested = await untilRest(cluster, async () => (await owner.stateOf(main))?.state !== RUNNING, {
    timeoutMs: REST_TIMEOUT_MS,
  });
  const wanted = [...one.delivery, ...one.broadcast, ...(one.afterwards === "" ? [] : [one.afterwards])];
  const passedAll = () => wanted.every((point) => keeper.passed.has(point));
  await eventually(passedAll, { timeoutMs: LATE_PASS_MS }).catch(() => {});
  await keeper.stop();
  const verdict = await check({
    sql: cluster.sql,
    sandbox: cluster.sandbox,
    tags: tags.sources,
    openAtKills: keeper.openAtKills,
    openAtCuts: keeper.openAtCuts,
  });
  if (!rested) verdict.violations.unshift(`Not at rest after ${REST_TIMEOUT_MS / 1000} s.`);
  verdict.violations.push(...keeper.crashes);
  return { ...verdict, missed: wanted.filter((point) => !keeper.passed.has(point)) };
}

async function scriptEveryAnswer({ sandbox }: Cluster, chats: number[]): Promise<void> {
  await sandbox.configure({ botPerSecond: 0, chatPerSecond: 0 });
  await sandbox.script({ method: "*", answer: { latencyMs: [20, 80] } });
  for (const [i, answer] of ANSWERS.entries()) {
    const chosen = chats.filter((_, at) => at % 39 === i);
    if (i < FOR_GOOD) await sandbox.script({ chat: chosen, answer });
    else for (const chat of chosen) await sandbox.script({ chat, answer, times: 1 });
  }
}

/** A Start that is repeated after its process died may find that it has already happened. */
function ignoreState(error: unknown): void {
  if (!(error instanceof RestError) || error.code !== "state") throw error;
}
