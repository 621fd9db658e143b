import type { Row } from "../row.ts";
import { delivery } from "./delivery.ts";
import { dueScan } from "./due-scan.ts";
import { fairness } from "./fairness.ts";
import { firstMessage } from "./first-message.ts";
import { growth } from "./growth.ts";
import { lifeCycle } from "./life-cycle.ts";
import { memory } from "./memory.ts";
import { pace } from "./pace.ts";
import { pooler } from "./pooler.ts";
import { putLeads } from "./put-leads.ts";
import { relay } from "./relay.ts";
import { rest } from "./rest.ts";
import { sandbox } from "./sandbox.ts";
import { soak } from "./soak.ts";
import { start } from "./start.ts";

/** In the order of the table. */
export const rows: readonly Row[] = [
  delivery,
  pace,
  relay,
  start,
  firstMessage,
  lifeCycle,
  rest,
  fairness,
  putLeads,
  dueScan,
  memory,
  growth,
  pooler,
  soak,
  sandbox,
];
