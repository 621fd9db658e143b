/** The delivery process with its pace lifted, which no product switch can do. */

import { Type } from "@sinclair/typebox";
import { Registry } from "prom-client";
import { createDatabase } from "#services/core/database/client.ts";
import { connectQueue } from "#services/core/queue/connection.ts";
import { createDelivery } from "#services/delivery/delivery.ts";
import { systemClock } from "#services/platform/clock.ts";
import { readConfig } from "#services/platform/config.ts";
import { createLogger } from "#services/platform/log.ts";
import { createSecretBox } from "#services/platform/secrets.ts";
import { secretKeysVar } from "#services/platform/variables.ts";
import { answerParent, childOptions } from "../child.ts";
import { watchLanes } from "../lane-watch.ts";

export interface DeliveryChildOptions {
  databaseUrl: string;
  natsUrl: string;
  apiRoot: string;
  secretKeys: string;
  /** No limit per bot or chat; otherwise what the bots are set to. */
  unlimited: boolean;
}

const options = childOptions<DeliveryChildOptions>();
const { SECRET_KEYS } = readConfig(Type.Object({ SECRET_KEYS: secretKeysVar }), { SECRET_KEYS: options.secretKeys });
const lanes = watchLanes();
const { sql, close } = createDatabase({ url: options.databaseUrl, applicationName: "leadcast-delivery" });
const nc = await connectQueue({ url: options.natsUrl, name: "leadcast-delivery" });
const delivery = await createDelivery({
  sql,
  nc,
  stream: { replicas: 1 },
  clock: systemClock,
  apiRoot: options.apiRoot,
  secretBox: createSecretBox(SECRET_KEYS),
  serviceBotToken: "1:unused",
  registry: new Registry(),
  log: createLogger({ service: "delivery", level: "warn" }),
  ...(options.unlimited ? { limitOf: () => Number.POSITIVE_INFINITY, chatIntervalMs: 0 } : {}),
});
delivery.start();

answerParent({ idleShare: () => lanes.take() }, async () => {
  await delivery.stop();
  await nc.close();
  await close();
});
