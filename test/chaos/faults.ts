/** The faults of a random run: which, where and when comes from the seed alone. */
import { KILL_POINTS } from "#services/platform/kill-points.ts";
import { type Cluster, LINKS, type LinkName } from "./cluster.ts";
import type { Keeper } from "./keeper.ts";
import { createRandom, type Random } from "./random.ts";

export type Fault =
  | { fault: "kill"; service: "delivery" | "broadcast"; replica: number }
  | { fault: "sigterm"; service: "delivery" | "broadcast"; replica: number }
  | { fault: "freeze"; service: "delivery" | "broadcast"; replica: number; ms: number }
  | { fault: "killNats" | "wipeNats" | "killBackend" | "killPostgres" }
  | { fault: "cut" | "halfOpen"; link: LinkName }
  | { fault: "delay"; link: LinkName; delayMs: number; ms: number }
  | { fault: "partition"; link: LinkName; ms: number }
  | { fault: "refuse"; ms: number };

export interface TimedFault {
  /** Since the fault before. */
  afterMs: number;
  fault: Fault;
}

export interface FaultOptions {
  /** Between two faults, at most. */
  maxIntervalMs: number;
  /** Whether Postgres may be killed. */
  postgres: boolean;
}

/** Past the lease (4 s), and now and then past the rescue (15 s). */
const freezeMs = (random: Random) => (random.chance(0.1) ? random.int(16_000, 18_000) : random.int(4_500, 7_000));

export function* planFaults(seed: number, options: FaultOptions): Generator<TimedFault, never> {
  const random = createRandom(seed, "faults");
  for (;;) yield { afterMs: random.int(20, options.maxIntervalMs), fault: anyFault(random, options) };
}

function anyFault(random: Random, { postgres }: FaultOptions): Fault {
  const kind = random.weighted({
    kill: 50,
    sigterm: 4,
    freeze: 6,
    killNats: 9,
    wipeNats: 3,
    killBackend: postgres ? 7 : 0,
    killPostgres: postgres ? 3 : 0,
    cut: 5,
    halfOpen: 1,
    delay: 3,
    partition: 2,
    refuse: 1,
  });
  const service = random.chance(0.8) ? ("delivery" as const) : ("broadcast" as const);
  const replica = random.int(0, 99);
  const link = random.pick(LINKS);
  switch (kind) {
    case "kill":
    case "sigterm":
      return { fault: kind, service, replica };
    case "freeze":
      return { fault: kind, service, replica, ms: freezeMs(random) };
    case "cut":
      return { fault: kind, link };
    case "halfOpen":
      // A connection that is half-open for good is Postgres' to notice, and takes its keep-alive minutes: see docs/reliability.md.
      return { fault: kind, link: random.pick(["delivery-nats", "relay-nats", "delivery-telegram"] as const) };
    case "delay":
      return { fault: kind, link, delayMs: random.int(20, 400), ms: random.int(500, 3_000) };
    case "partition":
      return { fault: kind, link, ms: random.int(300, 6_000) };
    case "refuse":
      return { fault: kind, ms: random.int(200, 2_000) };
    default:
      return { fault: kind };
  }
}

/** Does it, and resolves when it is over. In place of a replica that is down or frozen already it takes the next one. */
export async function cause(fault: Fault, cluster: Cluster, keeper: Keeper): Promise<void> {
  switch (fault.fault) {
    case "kill":
    case "sigterm":
    case "freeze": {
      const names = fault.service === "delivery" ? cluster.deliveries : cluster.broadcasts;
      const first = fault.replica % names.length;
      const name = [...names.slice(first), ...names.slice(0, first)].find((one) => keeper.isFree(one));
      if (name === undefined) return;
      if (fault.fault === "kill") await keeper.kill(name);
      else if (fault.fault === "sigterm") await keeper.sigterm(name);
      else await keeper.freeze(name, fault.ms);
      return;
    }
    case "killNats":
      await cluster.nats.kill9();
      keeper.count("nats");
      return await cluster.nats.restart();
    case "wipeNats":
      await cluster.nats.wipe();
      return keeper.count("nats, with its store");
    case "killBackend":
      await cluster.killBackend().catch(() => {});
      keeper.count("postgres, one backend");
      return await keeper.noteCut();
    case "killPostgres":
      await cluster.killPostgres();
      keeper.count("postgres");
      return await keeper.noteCut();
    case "refuse":
      await cluster.sandbox.listen(false);
      await Bun.sleep(fault.ms);
      await cluster.sandbox.listen(true);
      return;
    default:
      await harm(fault, cluster);
      if (fault.link === "delivery-postgres") await keeper.noteCut();
  }
}

async function harm(
  fault: Extract<Fault, { fault: "cut" | "halfOpen" | "delay" | "partition" }>,
  cluster: Cluster,
): Promise<void> {
  const proxy = cluster.proxies[fault.link];
  switch (fault.fault) {
    case "cut":
      return proxy.cut();
    case "halfOpen":
      proxy.halfOpen();
      await Bun.sleep(5_000);
      return proxy.heal();
    case "delay":
      proxy.delay(fault.delayMs);
      await Bun.sleep(fault.ms);
      return proxy.delay(0);
    case "partition":
      proxy.partition(true);
      await Bun.sleep(fault.ms);
      return proxy.partition(false);
    default:
      return fault satisfies never;
  }
}

/** What processes are armed with as they start: most of them with a point of theirs, to be passed some number of times. */
export function armFromSeed(seed: number): (name: string) => string {
  const streams = new Map<string, Random>();
  return (name) => {
    const random = streams.get(name) ?? createRandom(seed, `arm ${name}`);
    streams.set(name, random);
    const point = random.pick(name.startsWith("delivery") ? DELIVERY_POINTS : RELAY_POINTS);
    const nth = random.int(1, PASSED_OFTEN.test(point) ? 60 : 6);
    const action = random.chance(0.08) ? "stop" : "kill9";
    return random.chance(0.7) ? `${point}:${nth}:${action}` : "";
  };
}

/** Once for each message; the others are passed once for many. */
const PASSED_OFTEN = /^(intake|request)\./;

export const DELIVERY_POINTS = KILL_POINTS.filter((point) => /^(intake|claim|request|settle|ack|rescue)\./.test(point));
export const RELAY_POINTS = KILL_POINTS.filter((point) => /^(publish|mark|review)\./.test(point));
export const RPC_POINTS = KILL_POINTS.filter((point) => /^decide\./.test(point));
