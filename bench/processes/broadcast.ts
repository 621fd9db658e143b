/** The broadcast process with the relay's windows as a row asks for, or without a relay. */
import { BroadcastService } from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { type BackgroundOptions, createBackground } from "#services/broadcast/background.ts";
import { ProgressMeter } from "#services/broadcast/progress.ts";
import { broadcastRoutes, CUSTOMER_METHODS } from "#services/broadcast/routes.ts";
import { createDatabase } from "#services/core/database/client.ts";
import { paidInterceptor } from "#services/core/entitlement/entitlement.ts";
import { connectQueue } from "#services/core/queue/connection.ts";
import { systemClock } from "#services/platform/clock.ts";
import { createLogger } from "#services/platform/log.ts";
import { createMetrics } from "#services/platform/metrics.ts";
import { createRpcServer } from "#services/platform/rpc/server.ts";
import { storableInterceptor } from "#services/platform/rpc/storable.ts";
import type { RpcToken } from "#services/platform/variables.ts";
import { answerParent, childOptions } from "../child.ts";

export interface BroadcastChildOptions {
  databaseUrl: string;
  /** Without it there is no relay, and nothing else in the background. */
  natsUrl?: string;
  relay?: BackgroundOptions["relay"];
  rpcTokens: RpcToken[];
}

const options = childOptions<BroadcastChildOptions>();
const log = createLogger({ service: "broadcast", level: "warn" });
const { sql, close } = createDatabase({ url: options.databaseUrl, applicationName: "leadcast-broadcast" });
const meter = new ProgressMeter({ sql, clock: systemClock });
const server = createRpcServer({
  service: "broadcast",
  host: "127.0.0.1",
  port: 0,
  routes: broadcastRoutes({
    sql,
    clock: systemClock,
    meter,
    checkMedia: async () => {},
    sendPreview: async () => {},
  }),
  services: [BroadcastService],
  tokens: options.rpcTokens,
  log,
  interceptors: [paidInterceptor({ sql, methods: CUSTOMER_METHODS }), storableInterceptor],
  metrics: createMetrics("broadcast"),
});
await server.start();
const background = options.natsUrl === undefined ? undefined : await startBackground(options.natsUrl);

async function startBackground(natsUrl: string): Promise<{ stop(): Promise<void> }> {
  const nc = await connectQueue({ url: natsUrl, name: "leadcast-broadcast" });
  const stream = { replicas: 1 };
  const started = await createBackground({ sql, nc, stream, clock: systemClock, meter, log, relay: options.relay });
  started.start();
  return {
    stop: async () => {
      await started.stop();
      await nc.close();
    },
  };
}

answerParent({ url: () => `http://127.0.0.1:${server.port}` }, async () => {
  await background?.stop();
  await server.stop();
  await close();
});
