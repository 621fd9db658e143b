/** Faults that leave nothing in doubt, over and over: `nats-server` killed, and processes that are asked to stop. */
import { Keeper } from "../keeper.ts";
import { DONE } from "../owner.ts";
import { createRandom, type Random } from "../random.ts";
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

const SIZES = {
  long: { bots: 12, leadsPerBot: 1_000, faults: 15 },
  short: { bots: 8, leadsPerBot: 60, faults: 2 },
};
const MESSAGES_PER_SECOND = 30;
const BETWEEN_MS = [200, 1_500] as const;
/** How long `nats-server` stays away. */
const DOWN_MS = [0, 1_000] as const;
const REST_TIMEOUT_MS = 120_000;

type CauseFault = (world: World, keeper: Keeper, random: Random) => Promise<string | undefined>;

const killNats: CauseFault = async ({ cluster }, keeper, random) => {
  await cluster.nats.kill9();
  keeper.count("nats");
  await Bun.sleep(random.int(...DOWN_MS));
  await cluster.nats.restart();
  return undefined;
};

const terminate: CauseFault = async ({ cluster }, keeper, random) => {
  const name = random.pick(random.chance(0.7) ? cluster.deliveries : cluster.broadcasts);
  const code = await keeper.sigterm(name);
  keeper.count(name);
  return code === 0 ? undefined : `${name} ended with ${code} when it was asked to.`;
};

export const natsKills: Scenario = scenarioOf(killNats);
export const sigterm: Scenario = scenarioOf(terminate);

function scenarioOf(causeFault: CauseFault): Scenario {
  return {
    variants: ["random"],
    run: (options) => {
      const { bots, leadsPerBot } = SIZES[options.short ? "short" : "long"];
      return inWorld(
        options,
        {
          cluster: { delivery: 3, broadcast: 2 },
          owner: { botIds: spreadBotIds(bots), leadsPerBot, messagesPerSecond: MESSAGES_PER_SECOND },
          sandbox: { botPerSecond: 0, chatPerSecond: 0 },
          latencyMs: [20, 80],
        },
        (world) => runFaults(world, options, causeFault),
      );
    },
  };
}

async function runFaults(
  world: World,
  { seed, short }: ScenarioOptions,
  causeFault: CauseFault,
): Promise<ScenarioReport> {
  const { cluster, owner } = world;
  const random = createRandom(seed, "no doubt");
  await untilShared(cluster);
  const keeper = new Keeper(cluster, { arm: () => "", freezeMs: () => 0 });
  const main = await owner.createBroadcast();
  await owner.start(main);
  const told: string[] = [];
  const isDone = async () => (await owner.stateOf(main))?.state === DONE;
  for (let i = 0; i < SIZES[short ? "short" : "long"].faults && !(await isDone()); i++) {
    await Bun.sleep(random.int(...BETWEEN_MS));
    const wrong = await causeFault(world, keeper, random);
    if (wrong !== undefined) told.push(wrong);
  }
  const rested = await untilRest(cluster, isDone, { timeoutMs: REST_TIMEOUT_MS });
  await keeper.stop();
  const { figures, violations } = await checkWorld(world);
  if (!rested) violations.unshift(`Not at rest after ${REST_TIMEOUT_MS / 1000} s.`);
  if (figures.unconfirmed > 0) violations.push(`${figures.unconfirmed} are unconfirmed.`);
  if (figures.accepted !== figures.leads) violations.push(`${figures.accepted} of ${figures.leads} were accepted.`);
  violations.push(...told, ...keeper.crashes);
  const { leads, accepted, messagedTwice, unconfirmed } = figures;
  return { figures: { faults: keeper.killCount, leads, accepted, twice: messagedTwice, unconfirmed }, violations };
}
