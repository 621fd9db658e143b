/**
 * Two delivery replicas at full pace, and one of them falls: how long its bots are silent, and whether the two add up to more
 * than a bot may send around that.
 */
import { eventually } from "../../support/eventually.ts";
import { noteOpenClaims } from "../keeper.ts";
import { CANCELLED, DONE, type OwnedBot } from "../owner.ts";
import { createRandom } from "../random.ts";
import { untilRest, untilShared } from "../rest.ts";
import {
  arrivalsByBot,
  checkWorld,
  inWorld,
  paceFigures,
  rounded,
  type Scenario,
  type ScenarioOptions,
  type ScenarioReport,
  spreadBotIds,
  tooManyAfter,
  untilAccepted,
  type World,
  withoutProxy,
} from "./scenario.ts";

const VARIANTS = ["kill9", "freeze", "sigterm"] as const;
type Variant = (typeof VARIANTS)[number];

/** A free bot's limit, which the sandbox holds it to. */
const LIMIT = 30;
const MAX_TAKEOVER_SECONDS = 5;
/** Calls above the limit that a stall of the sandbox's may push into one second. Two owners at once push more before their 429s. */
const STALLED_CALLS = 2;
/** At full pace before it happens. */
const SENT_BEFORE = LIMIT * 1.5;
/** At full pace after the others have taken over; in the freeze, also after the thaw. */
const SENT_AFTER = LIMIT * 2;
/** And then at any moment of the relay's round: it publishes for a bot again when half of its ten seconds are gone. */
const MAX_BEFORE_MS = 6_000;
const LEADS_PER_BOT = LIMIT * 25;
/** Past the lease. */
const FREEZE_MS = [6_000, 8_000] as const;
const SENDING_TIMEOUT_MS = 30_000;
const REST_TIMEOUT_MS = 60_000;
const DELIVERY_ROLE = 2;

export const takeover: Scenario = {
  variants: VARIANTS,
  run: (options) =>
    inWorld(
      options,
      {
        cluster: { delivery: 2, broadcast: 1, environment: withoutProxy },
        owner: { botIds: spreadBotIds(options.short ? 4 : 10), leadsPerBot: LEADS_PER_BOT, messagesPerSecond: LIMIT },
        sandbox: { botPerSecond: LIMIT },
        latencyMs: [20, 60],
      },
      (world) => runTakeover(world, options),
    ),
};

async function runTakeover(world: World, options: ScenarioOptions): Promise<ScenarioReport> {
  const { cluster, owner } = world;
  const random = createRandom(options.seed, `takeover ${options.variant}`);
  await untilShared(cluster);
  const main = await owner.createBroadcast();
  await owner.start(main);
  await untilAccepted(cluster, owner.bots, SENT_BEFORE);
  await Bun.sleep(random.int(0, options.short ? 500 : MAX_BEFORE_MS));
  const name = random.pick(cluster.deliveries);
  const owners = await ownersOfShards(world);
  const fall = await FALLS[options.variant as Variant](world, name, random.int(...FREEZE_MS));
  const orphans = owner.bots.filter((bot) => owners.get(bot.id % 32) !== fall.survivor);
  const silence = await silenceAfter(world, orphans, fall.atMs);
  await owner.act("cancel", main).catch(() => {});
  const verdict = await restAndCheck(world, main, options, fall.openAtKills);
  return reportOf(options, world, silence, verdict);
}

interface Fall {
  atMs: number;
  /** The replica that is left when it has happened. */
  survivor: string;
  openAtKills: Set<string>;
}

/** Each resolves when the other replica has sent for all bots for a while. */
const FALLS: Record<Variant, (world: World, name: string, freezeMs: number) => Promise<Fall>> = {
  kill9: async (world, name) => {
    const atMs = Date.now();
    await world.cluster.kill9(name);
    const openAtKills = new Set<string>();
    await noteOpenClaims(world.cluster.sql, openAtKills, [0, 200]);
    const survivor = await onlyReplica(world);
    await untilSendingAgain(world);
    return { atMs, survivor, openAtKills };
  },
  freeze: async (world, name, freezeMs) => {
    const atMs = Date.now();
    world.cluster.freeze(name);
    const openAtKills = new Set<string>();
    await noteOpenClaims(world.cluster.sql, openAtKills, [0, 200]);
    const survivor = await onlyReplica(world);
    await Bun.sleep(Math.max(0, atMs + freezeMs - Date.now()));
    world.cluster.thaw(name);
    await untilShared(world.cluster);
    await untilSendingAgain(world);
    return { atMs, survivor, openAtKills };
  },
  sigterm: async (world, name) => {
    const atMs = Date.now();
    const code = await world.cluster.sigterm(name);
    if (code !== 0) throw new Error(`${name} ended with ${code} when it was asked to: ${world.cluster.output(name)}`);
    const survivor = await onlyReplica(world);
    await untilSendingAgain(world);
    return { atMs, survivor, openAtKills: new Set() };
  },
};

async function ownersOfShards({ cluster }: World): Promise<Map<number, string>> {
  const rows = await cluster.sql<{ shard: number; owner: string }[]>`
    SELECT shard, owner FROM shard_lease WHERE role = ${DELIVERY_ROLE} AND owner IS NOT NULL`;
  return new Map(rows.map(({ shard, owner }) => [shard, owner]));
}

/** Resolves with the name of the one replica that is left, when the others' have lapsed. */
async function onlyReplica({ cluster }: World): Promise<string> {
  return await eventually(
    async () => {
      const rows = await cluster.sql<{ name: string }[]>`
        SELECT name FROM replica WHERE role = ${DELIVERY_ROLE} AND expires_at > clock_timestamp()`;
      return rows.length === 1 ? rows[0]!.name : undefined;
    },
    { timeoutMs: 30_000 },
  );
}

/** Or until it has lasted for so long that the figures tell it. */
async function untilSendingAgain({ cluster, owner }: World): Promise<void> {
  const reports = new Map((await cluster.sandbox.bots()).map((report) => [report.bot, report.accepted]));
  const goals = owner.bots.map((bot) => {
    const accepted = reports.get(bot.sandboxId) ?? 0;
    const goal = Math.min(accepted + SENT_AFTER, LEADS_PER_BOT);
    return untilAccepted(cluster, [bot], goal, SENDING_TIMEOUT_MS).catch(() => {});
  });
  await Promise.all(goals);
}

interface Silence {
  bots: number;
  /** From the fall until the longest silence of each bot after it was over; the slowest counts. */
  seconds: number;
  /** From the fall until the last of the longer gaps was over. */
  steady: number;
  /** The most sends of one bot within a second, from a second before the fall to a second after the silence. */
  busiest: number;
  /** Calls answered 429 from the fall until a second after the silence. */
  tooMany: number;
  /** Every longer gap of each bot. */
  details: string[];
}

interface Gap {
  fromMs: number;
  toMs: number;
}

/** A replica that hands over is quiet for longer, and the pace's own gaps are far shorter. */
const LONG_GAP_MS = 500;

/**
 * By the sandbox's stamps of all sends, refused ones included. A replica that drains still sends for a moment, so the first
 * message after the fall need not be the other one's: the longest gap tells.
 */
async function silenceAfter({ cluster }: World, orphans: readonly OwnedBot[], fellAtMs: number): Promise<Silence> {
  const stamps = await arrivalsByBot(cluster, fellAtMs);
  const perBot = orphans.map(({ id, sandboxId }) => {
    const all = stamps.get(sandboxId) ?? [];
    const gaps = gapsAfterFall(all);
    const long = gaps.filter(({ fromMs, toMs }) => toMs - fromMs > LONG_GAP_MS);
    const longest = gaps.toSorted((a, b) => b.toMs - b.fromMs - (a.toMs - a.fromMs))[0] ?? NEVER;
    const busiest = busiestSecond(all.filter((at) => at >= -1_000 && at <= longest.toMs + 1_000));
    const told = long.map(({ fromMs, toMs }) => `${Math.round(fromMs)} to ${Math.round(toMs)}`);
    const detail = `bot ${id} was silent from ${told.join(", ")} ms`;
    return { endsMs: longest.toMs, steadyMs: Math.max(longest.toMs, ...long.map(({ toMs }) => toMs)), busiest, detail };
  });
  const endsMs = Math.max(...perBot.map((bot) => bot.endsMs));
  const tooMany = await tooManyAfter(cluster, fellAtMs);
  return {
    bots: orphans.length,
    seconds: endsMs / 1000,
    steady: Math.max(...perBot.map((bot) => bot.steadyMs)) / 1000,
    busiest: Math.max(...perBot.map((bot) => bot.busiest)),
    tooMany: tooMany.filter((atMs) => atMs > 0 && atMs < endsMs + 1_000).length,
    details: [...perBot.map((bot) => bot.detail), `429s at ${tooMany.join(", ") || "no time"} ms`],
  };
}

const NEVER: Gap = { fromMs: Number.POSITIVE_INFINITY, toMs: Number.POSITIVE_INFINITY };

/** Gaps of a bot after the fall, which is moment 0. */
function gapsAfterFall(stamps: readonly number[]): Gap[] {
  const after = [0, ...stamps.filter((at) => at > 0)];
  return after.slice(1).map((toMs, i) => ({ fromMs: after[i]!, toMs }));
}

function busiestSecond(stamps: readonly number[]): number {
  return Math.max(0, ...stamps.map((start) => stamps.filter((at) => at >= start && at < start + 1_000).length));
}

/** Short runs do not wait for the rescue of what the dead one had claimed. */
async function restAndCheck(
  world: World,
  main: number,
  { short }: ScenarioOptions,
  openAtKills: ReadonlySet<string>,
): Promise<{ unconfirmed: number; violations: string[] }> {
  if (short) return { unconfirmed: 0, violations: await messagedTwice(world) };
  const ended = async () => [DONE, CANCELLED].includes((await world.owner.stateOf(main))?.state ?? 0);
  const rested = await untilRest(world.cluster, ended, { timeoutMs: REST_TIMEOUT_MS });
  const { figures, violations } = await checkWorld(world, openAtKills);
  if (!rested) violations.unshift(`Not at rest after ${REST_TIMEOUT_MS / 1000} s.`);
  return { unconfirmed: figures.unconfirmed, violations };
}

async function messagedTwice({ cluster }: World): Promise<string[]> {
  const chats = await cluster.sandbox.chatsOver(1);
  return chats.map(({ chat, count }) => `Chat ${chat} got ${count} messages.`);
}

/** Short runs stand beside others: how fast this machine is is not theirs to judge. */
async function reportOf(
  { variant, short }: ScenarioOptions,
  { cluster }: World,
  silence: Silence,
  { unconfirmed, violations }: { unconfirmed: number; violations: string[] },
): Promise<ScenarioReport> {
  const { bots, seconds, details } = silence;
  const pace = await paceFigures(cluster);
  if (bots === 0) violations.push("The replica that fell had no bots: that shows nothing.");
  if (seconds === Number.POSITIVE_INFINITY) violations.push("The other replica did not take over.");
  else if (!short && seconds > MAX_TAKEOVER_SECONDS)
    violations.push(`The other replica took ${rounded(seconds)} s to take over.`);
  if (!short && silence.busiest > LIMIT + STALLED_CALLS)
    violations.push(`${silence.busiest} calls of one bot came within a second.`);
  if (variant === "sigterm" && unconfirmed > 0) violations.push(`${unconfirmed} are unconfirmed after a SIGTERM.`);
  const figures = {
    bots,
    seconds: rounded(seconds),
    "steady after": rounded(silence.steady),
    "busiest second around it": silence.busiest,
    "429s at it": silence.tooMany,
    unconfirmed,
    // Of the whole run: what the machine's own stalls made of the pace.
    "busiest second": pace.busiestSecond,
    "429s": pace.tooMany,
  };
  return { figures, violations, details: violations.length === 0 ? [] : details };
}
