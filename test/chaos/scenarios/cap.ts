/**
 * A tariff's daily cap while delivery replicas are killed: it is used up, and never passed. By the UTC day of the claim, so a
 * run over midnight begins a second day.
 */
import { Keeper } from "../keeper.ts";
import { RUNNING } from "../owner.ts";
import { createRandom } from "../random.ts";
import { untilRest, untilShared } from "../rest.ts";
import {
  checkWorld,
  inWorld,
  type Scenario,
  type ScenarioOptions,
  type ScenarioReport,
  spreadBotIds,
  type World,
} from "./scenario.ts";

const VARIANTS = ["kills", "quiet"] as const;

const CAP = 500;
const REPLICAS = 4;
const BOTS = 24;
/** Nearly twice the cap: leads that fail give their place back. */
const LEADS_PER_BOT = 40;
/** All of them together would be through in two seconds. */
const MESSAGES_PER_SECOND = 10;
/** Of the chats, have blocked the bot: a place that was reserved for them is given back. */
const BLOCKED_SHARE = 0.03;
const MAX_KILLS = 12;
const BETWEEN_KILLS_MS = [100, 500] as const;
const SAMPLE_MS = 20;
const REST_TIMEOUT_MS = 90_000;

export const cap: Scenario = {
  variants: VARIANTS,
  run: (options) =>
    inWorld(
      options,
      {
        cluster: { delivery: REPLICAS, broadcast: 1 },
        owner: {
          botIds: spreadBotIds(BOTS),
          leadsPerBot: LEADS_PER_BOT,
          messagesPerSecond: MESSAGES_PER_SECOND,
          dailyCap: CAP,
        },
        sandbox: { botPerSecond: 0, chatPerSecond: 0 },
        latencyMs: [20, 80],
      },
      (world) => runCap(world, options),
    ),
};

interface Day {
  day: string;
  used: number;
}

async function runCap(world: World, { seed, variant, short }: ScenarioOptions): Promise<ScenarioReport> {
  const { cluster, owner } = world;
  const random = createRandom(seed, "cap");
  const chats = owner.bots.flatMap((bot) => bot.chats).filter(() => random.chance(BLOCKED_SHARE));
  await cluster.sandbox.script({ chat: chats, answer: { error: "blocked" } });
  await untilShared(cluster);
  const sampler = sampleUsed(world);
  const keeper = new Keeper(cluster, { arm: () => "", freezeMs: () => 0 });
  const main = await owner.createBroadcast();
  await owner.start(main);
  const kills = short ? 2 : MAX_KILLS;
  for (let i = 0; variant === "kills" && i < kills && !(await isUsedUp(world)); i++) {
    await Bun.sleep(random.int(...BETWEEN_KILLS_MS));
    await keeper.kill(random.pick(cluster.deliveries.filter((name) => keeper.isFree(name))));
  }
  const rested = await untilRest(
    cluster,
    async () => (await isUsedUp(world)) || (await owner.stateOf(main))?.state !== RUNNING,
    { timeoutMs: REST_TIMEOUT_MS },
  );
  await keeper.stop();
  const most = await sampler.stop();
  const report = await judge(world, keeper, variant, most);
  if (!rested) report.violations.unshift(`Not at rest after ${REST_TIMEOUT_MS / 1000} s.`);
  return report;
}

async function daysOf({ cluster, owner }: World): Promise<Day[]> {
  return await cluster.sql<Day[]>`
    SELECT day::text AS day, used FROM quota_day WHERE account_id = ${owner.accountId} ORDER BY day`;
}

async function isUsedUp(world: World): Promise<boolean> {
  return (await daysOf(world)).at(-1)?.used === CAP;
}

/** Looks all the time; `stop` gives the most that was ever used of a day, and how often it looked. */
function sampleUsed(world: World): { stop(): Promise<{ most: number; samples: number }> } {
  let [most, samples, stopped] = [0, 0, false];
  const loop = async () => {
    for (; !stopped; samples++) {
      most = Math.max(most, ...(await daysOf(world)).map(({ used }) => used));
      await Bun.sleep(SAMPLE_MS);
    }
  };
  const done = loop();
  return {
    stop: async () => {
      stopped = true;
      await done;
      return { most, samples };
    },
  };
}

async function judge(
  world: World,
  keeper: Keeper,
  variant: string,
  { most, samples }: { most: number; samples: number },
): Promise<ScenarioReport> {
  const { figures, violations } = await checkWorld(world, keeper.openAtKills);
  const days = await daysOf(world);
  const taken = await takenByDay(world);
  for (const { day, used } of days) {
    const { accepted, notAccepted } = taken.get(day) ?? { accepted: 0, notAccepted: 0 };
    if (used !== accepted + notAccepted) {
      violations.push(
        `On ${day} ${used} are used: ${accepted} were accepted and ${notAccepted} are in doubt and were not.`,
      );
    }
  }
  if (most > CAP) violations.push(`${most} were used of ${CAP}.`);
  if (days[0]?.used !== CAP) violations.push(`${days[0]?.used} were used of ${CAP} in the end.`);
  if (variant === "quiet" && figures.unconfirmed > 0) violations.push(`${figures.unconfirmed} are unconfirmed.`);
  violations.push(...keeper.crashes);
  const { accepted, notAccepted } = taken.get(days[0]?.day ?? "") ?? { accepted: 0, notAccepted: 0 };
  if (variant === "quiet" && accepted !== CAP) violations.push(`${accepted} were accepted.`);
  return {
    figures: {
      kills: keeper.killCount,
      used: days[0]?.used ?? 0,
      "most ever used": most,
      samples,
      accepted,
      unconfirmed: figures.unconfirmed,
      "of these not accepted": notAccepted,
      days: days.length,
    },
    violations,
  };
}

/** By the day that a send's claim took from: what the Bot API accepted, and what is in doubt and was not. */
async function takenByDay({ cluster }: World): Promise<Map<string, { accepted: number; notAccepted: number }>> {
  const accepted = new Set((await cluster.sandbox.messages({ limit: 100_000 })).map(({ chat }) => chat));
  const rows = await cluster.sql<{ day: string; chat: number; state: number }[]>`
    SELECT s.quota_day::text AS day, l.chat_id AS chat, s.state FROM send s JOIN lead l ON l.id = s.lead_id
    WHERE s.quota_day IS NOT NULL`;
  const days = new Map<string, { accepted: number; notAccepted: number }>();
  for (const { day, chat, state } of rows) {
    const of = days.get(day) ?? { accepted: 0, notAccepted: 0 };
    if (accepted.has(chat)) of.accepted++;
    else if (state === UNCONFIRMED) of.notAccepted++;
    days.set(day, of);
  }
  return days;
}

const UNCONFIRMED = 4;
