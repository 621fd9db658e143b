/**
 * The edge of the Bot API's limit: whole processes against the strict sandbox, which stamps a call on arrival, refuses the
 * thirty-first of any second, and takes 50 to 150 ms to answer.
 */
import { createSandboxClient } from "#services/local/sandbox/client.ts";
import type { Figure } from "../figure.ts";
import { median, until } from "../measure.ts";
import { perMessage, secretBoxOf, startPipeline } from "../pipeline.ts";
import type { Row, RowContext } from "../row.ts";
import { watchCpu } from "../usage.ts";
import { addBroadcast, createWorld } from "../world.ts";

const LIMIT = 30;
const LATENCY_MS: [number, number] = [50, 150];
/** Everything is compiled and each lane has its first second behind it. */
const WARM_UP_SECONDS = 5;
/** Leads that are left when the time is up, so that no lane runs dry before. */
const SPARE_SECONDS = 5;

export const pace: Row = {
  name: "pace",
  limits: `\
With few bots the guard: a place is 8 ms longer than a second's thirtieth part asks for, over thirty of them, because what is sent
after 1,000 ms may arrive after 995. With hundreds of bots the sandbox's own clock: it shares the cores with delivery, Postgres,
\`nats-server\` and the relay, and where it is kept from running for 20 to 70 ms, which happens a few times a minute, it stamps what
came meanwhile at the end of that. What comes a second later is too early for it: dozens of bots get a 429 in the same tenth of a
second, rest for a second, and all bots keep a wider guard from then on (16 ms the first time, half as much again each next time). With
200 bots both cores are busy as well: 5,400 messages a second take 310 µs each of all processes together, which is 1.7 cores and the
kernel's part. Without the bound on delivery's heap (services/delivery/heap.ts) the median bot reaches 3 % more and the slowest no
more: longer collections make more 429s.`,
  run: async (context) => {
    if (context.quick) return await paceOf(context, 2, 1);
    return [
      ...(await paceOf(context, 1, 60)),
      ...(await paceOf(context, 100, 30)),
      ...(await paceOf(context, 200, 30)),
    ];
  },
};

interface Window {
  /** Share of the limit that each bot reached, in percent. */
  shares: number[];
  refused: number;
  busiest: number;
  cpu: ReadonlyMap<string, number>;
}

async function paceOf(context: RowContext, bots: number, seconds: number): Promise<Figure[]> {
  const { ground, quick, say } = context;
  const warmUp = quick ? 1 : WARM_UP_SECONDS;
  const pipeline = await startPipeline({ ground, lifted: false, bots, strict: true });
  try {
    const control = createSandboxClient(pipeline.apiRoot);
    // The texts of 200,000 messages would have it collect garbage for tens of milliseconds.
    await control.configure({ keepBodies: 0 });
    await control.script({ answer: { latencyMs: LATENCY_MS } });
    const { accountId } = await createWorld(pipeline.sql, {
      bots,
      leads: bots * LIMIT * (seconds + warmUp + SPARE_SECONDS),
      messagesPerSecond: LIMIT,
      secretBox: secretBoxOf(ground),
    });
    const broadcastId = BigInt(await addBroadcast(pipeline.sql, accountId));
    await pipeline.broadcast.startBroadcast({ accountId: BigInt(accountId), broadcastId });
    await until("first messages", async () => (await control.bots()).length === bots);
    await Bun.sleep(warmUp * 1000);
    const window = await watch(control, pipeline.watched, seconds);
    say(`${bots} bots: slowest ${Math.min(...window.shares).toFixed(1)} %, ${window.refused} times 429`);
    return figuresOf(bots, seconds, window);
  } finally {
    await pipeline.stop();
  }
}

async function watch(
  control: ReturnType<typeof createSandboxClient>,
  watched: Parameters<typeof watchCpu>[0],
  seconds: number,
): Promise<Window> {
  const cpu = watchCpu(watched);
  const before = new Map((await control.bots()).map((report) => [report.bot, report]));
  const startedMs = performance.now();
  await Bun.sleep(seconds * 1000);
  const after = await control.bots();
  const passedSeconds = (performance.now() - startedMs) / 1000;
  const shares = after.map(({ bot, accepted }) => {
    return ((accepted - before.get(bot)!.accepted) / (LIMIT * passedSeconds)) * 100;
  });
  const { refusedByKind } = await control.totals();
  return {
    shares,
    refused: refusedByKind.limit_bot ?? 0,
    busiest: Math.max(...after.map(({ busiestSecond }) => busiestSecond.accepted)),
    cpu: cpu(),
  };
}

function figuresOf(bots: number, seconds: number, { shares, refused, busiest, cpu }: Window): Figure[] {
  const messages = (shares.reduce((sum, share) => sum + share, 0) / 100) * LIMIT * seconds;
  const name = `${bots} ${bots === 1 ? "bot" : "bots"} for ${seconds} s`;
  return [
    {
      name: `slowest of ${name}, of ${LIMIT} a second`,
      unit: "%",
      product: [Math.min(...shares)],
      goal: { of: "value", is: "at least", limit: bots === 1 ? 99 : 97 },
      notes: `median bot ${median(shares).toFixed(1)} %, busiest second ${busiest}; ${perMessage(cpu, messages)}`,
    },
    {
      name: `429s in 100,000 sends, ${name}`,
      unit: "calls",
      product: [(refused / messages) * 100_000],
      goal: { of: "value", is: "at most", limit: 1 },
    },
  ];
}
