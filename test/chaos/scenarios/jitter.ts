/**
 * What a bot reaches of its limit, and how often it is answered 429, when requests arrive later than they were written, each by
 * another time. Figures only: the pace's guard is made for a few milliseconds, and how much more a network has is its own.
 */

import type { OwnedBot } from "../owner.ts";
import { untilShared } from "../rest.ts";
import {
  arrivalsByBot,
  inWorld,
  rounded,
  type Scenario,
  type ScenarioOptions,
  type ScenarioReport,
  spreadBotIds,
  type World,
} from "./scenario.ts";

const LIMIT = 30;
const SIZES = {
  long: { levelsMs: [0, 5, 10, 20, 50, 100], bots: 5, seconds: 20 },
  short: { levelsMs: [0, 50], bots: 2, seconds: 2 },
};
/** The Bot API's own time to answer; with the jitter it decides how many requests are on the wire at once. */
const LATENCY_MS = [20, 40] as const;

export const jitter: Scenario = {
  variants: ["curve"],
  run: (options) => {
    const { levelsMs, bots, seconds } = SIZES[options.short ? "short" : "long"];
    return inWorld(
      options,
      {
        cluster: { delivery: 1, broadcast: 1 },
        // A 429 slows a bot down for half a minute, so every level has bots of its own.
        owner: {
          botIds: spreadBotIds(levelsMs.length * bots),
          leadsPerBot: LIMIT * (seconds + 4),
          messagesPerSecond: LIMIT,
        },
        sandbox: { botPerSecond: LIMIT },
        latencyMs: LATENCY_MS,
      },
      (world) => runJitter(world, options),
    );
  },
};

interface Level {
  share: number;
  tooManyPer10000: number;
}

async function runJitter(world: World, { short }: ScenarioOptions): Promise<ScenarioReport> {
  const { levelsMs, bots, seconds } = SIZES[short ? "short" : "long"];
  await untilShared(world.cluster);
  const report: ScenarioReport = { figures: {}, violations: [], details: [] };
  for (const [i, ms] of levelsMs.entries()) {
    const scope = world.owner.bots.slice(i * bots, (i + 1) * bots);
    const { share, tooManyPer10000 } = await runLevel(world, scope, ms, seconds);
    report.figures[`share % at ${ms} ms`] = rounded(100 * share, 1);
    report.figures[`429s per 10,000 at ${ms} ms`] = rounded(tooManyPer10000, 1);
    report.details!.push(bar(ms, share, tooManyPer10000));
  }
  const { chatsOver } = world.cluster.sandbox;
  for (const { chat, count } of await chatsOver(1)) report.violations.push(`Chat ${chat} got ${count} messages.`);
  return report;
}

/** One broadcast to bots that have not sent before, for a while. */
async function runLevel({ cluster, owner }: World, scope: OwnedBot[], ms: number, seconds: number): Promise<Level> {
  cluster.proxies["delivery-telegram"].jitter(ms);
  const id = await owner.createBroadcast(scope);
  const startedAt = Date.now();
  await owner.start(id, scope);
  await Bun.sleep((seconds + 2) * 1_000);
  await owner.act("cancel", id);
  const arrivals = await arrivalsByBot(cluster, startedAt);
  const refused = new Map((await cluster.sandbox.bots()).map((report) => [report.bot, report.refused]));
  const perBot = scope.map(({ sandboxId }) => {
    const stamps = arrivals.get(sandboxId) ?? [];
    const from = stamps[0] ?? 0;
    const tooMany = refused.get(sandboxId)?.limit_bot ?? 0;
    const within = stamps.filter((at) => at < from + seconds * 1_000).length;
    return { share: Math.max(0, within - tooMany) / (seconds * LIMIT), tooMany, sends: stamps.length };
  });
  const sum = (pick: (bot: (typeof perBot)[number]) => number) => perBot.reduce((total, bot) => total + pick(bot), 0);
  return {
    share: sum((bot) => bot.share) / scope.length,
    tooManyPer10000:
      (10_000 * sum((bot) => bot.tooMany)) /
      Math.max(
        1,
        sum((bot) => bot.sends),
      ),
  };
}

function bar(ms: number, share: number, tooMany: number): string {
  const filled = "█".repeat(Math.round(share * 40)).padEnd(40, "·");
  return `${String(ms).padStart(3)} ms ${filled} ${rounded(100 * share, 1)} % of ${LIMIT}/s, ${rounded(tooMany, 1)} 429s per 10,000`;
}
