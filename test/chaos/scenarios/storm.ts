/** One bot of ten is answered 429 again and again: it keeps every pause in full, and the other nine do not notice. */
import { CANCELLED, DONE } from "../owner.ts";
import { untilRest, untilShared } from "../rest.ts";
import {
  arrivalsByBot,
  checkWorld,
  inWorld,
  rounded,
  type Scenario,
  type ScenarioOptions,
  type ScenarioReport,
  spreadBotIds,
  untilAccepted,
  type World,
  withoutProxy,
} from "./scenario.ts";

const BOTS = 10;
const LIMIT = 30;
const RETRY_AFTER_SECONDS = 3;
/** Of its calls are answered 429: one in a second or so. */
const PROBABILITY = 0.05;
const SECONDS = { long: 60, short: 5 };
const REST_TIMEOUT_MS = 60_000;

export const storm: Scenario = {
  variants: ["429"],
  run: (options) => {
    const seconds = SECONDS[options.short ? "short" : "long"];
    return inWorld(
      options,
      {
        cluster: { delivery: 2, broadcast: 1, environment: withoutProxy },
        owner: { botIds: spreadBotIds(BOTS), leadsPerBot: LIMIT * (seconds + 10), messagesPerSecond: LIMIT },
        // The 429s are the storm's; what the machine's own stalls would earn is another scenario's to tell.
        sandbox: { botPerSecond: 0 },
        latencyMs: [20, 80],
      },
      (world) => runStorm(world, options, seconds),
    );
  },
};

async function runStorm(world: World, { seed }: ScenarioOptions, seconds: number): Promise<ScenarioReport> {
  const { cluster, owner } = world;
  const [unlucky, ...others] = owner.bots;
  await untilShared(cluster);
  const main = await owner.createBroadcast();
  await owner.start(main);
  await untilAccepted(cluster, owner.bots, LIMIT);
  const rule = { bot: unlucky!.sandboxId, method: "sendMessage", probability: PROBABILITY, seed };
  const fromMs = Date.now();
  await cluster.sandbox.script({ ...rule, answer: { error: "retry_after", retryAfterSeconds: RETRY_AFTER_SECONDS } });
  await Bun.sleep(seconds * 1_000);
  await cluster.sandbox.unscript();
  const arrivals = await arrivalsByBot(cluster, fromMs);
  const shares = others.map(({ sandboxId }) => {
    const within = (arrivals.get(sandboxId) ?? []).filter((at) => at >= 0 && at < seconds * 1_000);
    return within.length / (seconds * LIMIT);
  });
  await owner.act("cancel", main).catch(() => {});
  const ended = async () => [DONE, CANCELLED].includes((await owner.stateOf(main))?.state ?? 0);
  const rested = await untilRest(cluster, ended, { timeoutMs: REST_TIMEOUT_MS });
  const { figures, violations } = await checkWorld(world);
  if (!rested) violations.unshift(`Not at rest after ${REST_TIMEOUT_MS / 1000} s.`);
  const met = await cluster.sandbox.bot(unlucky!.sandboxId);
  const refused = Object.values(met.refused).reduce((sum, n) => sum + n, 0);
  if (refused === 0) violations.push("No call was answered 429: that shows nothing.");
  if (met.insideRetryAfter > 0) violations.push(`${met.insideRetryAfter} calls came inside a retry_after.`);
  // The record counts sends inside a pause; any other call of a bot that is only told to wait would be one as well.
  const otherCalls = met.calls - met.accepted - refused;
  if (otherCalls > 0) violations.push(`The bot made ${otherCalls} calls that were no sends.`);
  // A figure and no violation: how fast this is says as much of the machine.
  const least = Math.min(...shares);
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  return {
    figures: {
      "429s": refused,
      "inside retry_after": met.insideRetryAfter,
      "least share %": rounded(100 * least, 1),
      "mean share %": rounded(100 * mean, 1),
      twice: figures.messagedTwice,
      unconfirmed: figures.unconfirmed,
    },
    violations,
  };
}
