/** Everything between Start and the Bot API, each part in a process of its own: what the rows that send have in common. */
import { type Client, createClient } from "@connectrpc/connect";
import { Type } from "@sinclair/typebox";
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import type { BackgroundOptions } from "#services/broadcast/background.ts";
import type { Sql } from "#services/core/database/client.ts";
import { SHARD_COUNT } from "#services/core/ledger/send.ts";
import { LeaseRole } from "#services/core/shards/leases.ts";
import { deliveryHeap } from "#services/delivery/heap.ts";
import { readConfig } from "#services/platform/config.ts";
import { createRpcTransport } from "#services/platform/rpc/client.ts";
import { createSecretBox, type SecretBox } from "#services/platform/secrets.ts";
import { secretKeysVar } from "#services/platform/variables.ts";
import { type Child, startChild } from "./child.ts";
import type { BenchDatabase, BenchNats, Ground } from "./ground.ts";
import { until } from "./measure.ts";
import type { BroadcastChildOptions } from "./processes/broadcast.ts";
import type { DeliveryChildOptions } from "./processes/delivery.ts";
import type { Watched } from "./usage.ts";

/**
 * What each bot is set to where the pace is lifted: more than the machine can send. Delivery does not look at it; the relay
 * plans by it when to look at a lane again, and each look reads the lane's window.
 */
export function liftedPerSecond(bots: number): number {
  return Math.ceil(20_000 / bots);
}

export interface PipelineOptions {
  ground: Ground;
  /** No pace at all; the world's bots must be set to `liftedPerSecond(bots)`. Otherwise everything is as `npm start` has it. */
  lifted: boolean;
  /** Over which the relay's windows are split. */
  bots: number;
  /** Default true. */
  withDelivery?: boolean;
  relay?: BackgroundOptions["relay"];
  /** The sandbox with all its checks and limits in place of a Bot API that takes anything. */
  strict?: boolean;
}

export interface Pipeline {
  readonly database: BenchDatabase;
  readonly sql: Sql;
  readonly nats: BenchNats;
  readonly botApi: Child;
  readonly apiRoot: string;
  readonly delivery: Child | undefined;
  readonly broadcast: Client<typeof BroadcastService>;
  readonly broadcastChild: Child;
  /** Whose processor time counts. */
  readonly watched: Watched[];
  stop(): Promise<void>;
}

export function secretBoxOf(ground: Ground): SecretBox {
  const { SECRET_KEYS } = readConfig(Type.Object({ SECRET_KEYS: secretKeysVar }), { SECRET_KEYS: ground.secretKeys });
  return createSecretBox(SECRET_KEYS);
}

/** The platform's secret: it may call everything. */
export function platformToken(ground: Ground): string {
  return ground.rpcTokens.find(({ allow }) => allow.includes("*"))!.secret;
}

/** Published and not yet claimed over all lanes: half a second of the fastest delivery. */
const LIFTED_WINDOW = 4_000;
/** Without a pace, delivery takes what a lane has at once: enough of it for the turns of the others. At 30 a second it is 300. */
const SMALLEST_WINDOW = 200;
/** Many small windows still have to fit into the stream. */
const LARGEST_SUM = 40_000;
const LIFTED_TICK_MS = 50;

export function liftedRelay(bots: number): NonNullable<BackgroundOptions["relay"]> {
  const smallest = Math.min(SMALLEST_WINDOW, Math.ceil(LARGEST_SUM / bots));
  return { tickMs: LIFTED_TICK_MS, maxWindow: Math.max(smallest, Math.ceil(LIFTED_WINDOW / bots)) };
}

/** Starts the processes on an empty database; resolves when each holds its shards. */
export async function startPipeline(options: PipelineOptions): Promise<Pipeline> {
  const { ground, lifted, bots, withDelivery = true } = options;
  const [database, nats, botApi] = await Promise.all([
    ground.createDatabase(),
    ground.startNats(),
    startChild(options.strict ? "sandbox" : "bot-api"),
  ]);
  const apiRoot = await botApi.ask<string>("url");
  const shared = { databaseUrl: database.url, natsUrl: nats.url };
  const relay = options.relay ?? (lifted ? liftedRelay(bots) : undefined);
  const delivery = withDelivery
    ? await startChild(
        "delivery",
        { ...shared, apiRoot, secretKeys: ground.secretKeys, unlimited: lifted } satisfies DeliveryChildOptions,
        deliveryHeap,
      )
    : undefined;
  const broadcastChild = await startChild("broadcast", {
    ...shared,
    relay,
    rpcTokens: [...ground.rpcTokens],
  } satisfies BroadcastChildOptions);
  await until("shards", () => holdShards(database.sql, withDelivery));
  return {
    database,
    sql: database.sql,
    nats,
    botApi,
    apiRoot,
    delivery,
    broadcast: await broadcastClient(ground, broadcastChild),
    broadcastChild,
    watched: [
      ...(delivery ? [{ name: "delivery", pid: delivery.pid }] : []),
      { name: "relay", pid: broadcastChild.pid },
      { name: "Postgres", pid: ground.postgresPid, tree: true },
      { name: "nats-server", pid: nats.pid },
      { name: "Bot API", pid: botApi.pid },
    ],
    stop: async () => {
      for (const child of [broadcastChild, delivery, botApi]) await child?.stop();
      await Promise.all([nats.stop(), database.drop()]);
    },
  };
}

/** A client of a broadcast child. A Start of five million leads may take its time. */
export async function broadcastClient(ground: Ground, child: Child): Promise<Client<typeof BroadcastService>> {
  const baseUrl = await child.ask<string>("url");
  return createClient(
    BroadcastService,
    createRpcTransport({ baseUrl, token: platformToken(ground), timeoutMs: 60_000 }),
  );
}

async function holdShards(sql: Sql, withDelivery: boolean): Promise<boolean> {
  const roles = withDelivery ? [LeaseRole.relay, LeaseRole.delivery] : [LeaseRole.relay];
  const [row] = await sql<{ held: number }[]>`
    SELECT count(*) AS held FROM shard_lease WHERE role = ANY(${roles}::smallint[]) AND owner IS NOT NULL`;
  return row!.held === roles.length * SHARD_COUNT;
}

/** "delivery 41 µs, Postgres 60 µs, …": processor time per message. */
export function perMessage(used: ReadonlyMap<string, number>, messages: number): string {
  const parts = [...used].map(([name, seconds]) => `${name} ${((seconds / messages) * 1e6).toFixed(0)}`);
  return `µs of processor time a message: ${parts.join(", ")}`;
}
