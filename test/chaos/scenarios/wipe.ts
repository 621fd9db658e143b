/** `nats-server` is killed in the middle of a broadcast and its store deleted: how much longer the broadcast takes by that. */
import { DONE } from "../owner.ts";
import { createRandom } from "../random.ts";
import { untilRest, untilShared } from "../rest.ts";
import {
  checkWorld,
  inWorld,
  rounded,
  type Scenario,
  type ScenarioOptions,
  type ScenarioReport,
  spreadBotIds,
  type World,
} from "./scenario.ts";

const MESSAGES_PER_SECOND = 30;
/** The relay publishes ten seconds of a bot's work: more leads than that, or there is nothing left to publish again. */
const SIZES = { long: { bots: 20, leads: 20_000 }, short: { bots: 1, leads: 600 } };
/** Of the leads, in percent, are through when it happens. */
const WIPE_AT = { long: [40, 60], short: [20, 40] } as const;
const MAX_EXTRA_SECONDS = 30;
const REST_TIMEOUT_MS = 180_000;
const LOOK_MS = 20;

export const wipe: Scenario = {
  variants: ["middle"],
  run: (options) => {
    const { bots, leads } = SIZES[options.short ? "short" : "long"];
    return inWorld(
      options,
      {
        cluster: { delivery: 2, broadcast: 1 },
        owner: { botIds: spreadBotIds(bots), leadsPerBot: leads / bots, messagesPerSecond: MESSAGES_PER_SECOND },
        sandbox: { botPerSecond: 0, chatPerSecond: 0 },
        latencyMs: [20, 80],
      },
      (world) => runWipe(world, options, leads),
    );
  },
};

async function runWipe(world: World, { seed, short }: ScenarioOptions, leads: number): Promise<ScenarioReport> {
  const { cluster, owner } = world;
  const [from, to] = WIPE_AT[short ? "short" : "long"];
  const share = createRandom(seed, "wipe").int(from, to) / 100;
  await untilShared(cluster);
  const main = await owner.createBroadcast();
  const startedAt = performance.now();
  await owner.start(main);
  while ((await cluster.sandbox.totals()).accepted < leads * share) await Bun.sleep(LOOK_MS);
  await cluster.nats.wipe();
  const ended = async () => (await owner.stateOf(main))?.state === DONE;
  const rested = await untilRest(cluster, ended, { timeoutMs: REST_TIMEOUT_MS });
  const seconds = (performance.now() - startedAt) / 1000;
  const paceSeconds = leads / owner.bots.length / MESSAGES_PER_SECOND;
  const { figures, violations } = await checkWorld(world);
  const extra = seconds - paceSeconds;
  if (!rested) violations.unshift(`Not at rest after ${REST_TIMEOUT_MS / 1000} s.`);
  if (extra > MAX_EXTRA_SECONDS) violations.push(`It took ${rounded(extra)} s longer than its pace asks for.`);
  if (figures.unconfirmed > 0) violations.push(`${figures.unconfirmed} are unconfirmed.`);
  if (figures.accepted !== leads) violations.push(`${figures.accepted} of ${leads} were accepted.`);
  const { accepted, unconfirmed, messagedTwice } = figures;
  return {
    figures: {
      leads,
      accepted,
      twice: messagedTwice,
      unconfirmed,
      seconds: rounded(seconds),
      "pace seconds": rounded(paceSeconds),
      "extra seconds": rounded(extra),
    },
    violations,
  };
}
