import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ConnectRouter, ServiceImpl } from "@connectrpc/connect";
import {
  BroadcastService,
  type Progress as ProgressMessage,
  ProgressSchema,
} from "#gen/leadcast/broadcast/v1/broadcast_service_pb.ts";
import { recordOutside } from "#services/core/audit/record.ts";
import type { Sql } from "#services/core/database/client.ts";
import type { DatabaseClock } from "#services/core/ledger/database-clock.ts";
import type { Clock } from "#services/platform/clock.ts";
import {
  audienceFromMessage,
  bodyFromMessage,
  broadcastToMessage,
  countersToMessage,
  listedToMessage,
  stateToMessage,
} from "./convert.ts";
import { createBroadcast } from "./create.ts";
import { type CheckMedia, updateBroadcast } from "./edit.ts";
import * as lifeCycle from "./life-cycle.ts";
import type { Progress, ProgressMeter } from "./progress.ts";
import { getQuota } from "./quota.ts";
import { getBroadcast, listBroadcasts } from "./view.ts";
import { watchProgress } from "./watch.ts";

export interface BroadcastRoutesOptions {
  sql: Sql;
  clock: Clock;
  databaseClock?: DatabaseClock;
  meter: ProgressMeter;
  checkMedia: CheckMedia;
  /** Messages that one account may have queued; default 20,000,000. */
  maxQueued?: number;
  /** Sends a preview; see previews.ts. */
  sendPreview: (accountId: number, broadcastId: number) => Promise<void>;
}

/** The customers' RPCs: all of them. An account that has not paid is turned away before validation. */
export const CUSTOMER_METHODS: ReadonlySet<string> = new Set(
  BroadcastService.methods.map((method) => `${BroadcastService.typeName}/${method.name}`),
);

/** A request of a customer's that names one broadcast. */
interface OneBroadcast {
  accountId: bigint;
  broadcastId: bigint;
}

export function broadcastRoutes(options: BroadcastRoutesOptions): (router: ConnectRouter) => void {
  return (router) => {
    router.service(BroadcastService, { ...reads(options), ...writes(options), ...lifeCycleRoutes(options) });
  };
}

function reads(options: BroadcastRoutesOptions) {
  const { sql, clock, meter } = options;
  return {
    listBroadcasts: async ({ accountId, limit, beforeId }) => {
      const page = await listBroadcasts(sql, Number(accountId), { limit, beforeId: Number(beforeId) });
      return { broadcasts: page.broadcasts.map(listedToMessage), nextBeforeId: BigInt(page.nextBeforeId) };
    },
    getBroadcast: async (request) => ({ broadcast: broadcastToMessage(await getBroadcast(sql, ...idsOf(request))) }),
    getQuota: async ({ accountId }) => {
      const quota = await getQuota(sql, Number(accountId), options.databaseClock);
      return { cap: BigInt(quota.cap), used: BigInt(quota.used), queued: BigInt(quota.queued) };
    },
    getProgress: async (request) => ({ progress: progressToMessage(await meter.progressOf(...idsOf(request))) }),
    async *watchBroadcast(request, context) {
      for await (const progress of watchProgress(meter, clock, ...idsOf(request), context.signal)) {
        yield { progress: progressToMessage(progress) };
      }
    },
  } satisfies Partial<ServiceImpl<typeof BroadcastService>>;
}

function writes({ sql, checkMedia, sendPreview }: BroadcastRoutesOptions) {
  return {
    createBroadcast: async ({ accountId, name }) => ({
      broadcastId: BigInt(await createBroadcast(sql, Number(accountId), name)),
    }),
    updateBroadcast: async (request) => {
      const edit = {
        name: request.name,
        audience: audienceFromMessage(request.audience),
        body: bodyFromMessage(request.body),
      };
      await updateBroadcast(sql, ...idsOf(request), edit, checkMedia);
      return {};
    },
    sendBroadcastToMyself: async (request) => {
      await recordOutside(sql, () => sendPreview(...idsOf(request)));
      return {};
    },
  } satisfies Partial<ServiceImpl<typeof BroadcastService>>;
}

function lifeCycleRoutes({ sql, maxQueued }: BroadcastRoutesOptions) {
  const act =
    (work: (sql: Sql, accountId: number, broadcastId: number) => Promise<void>) => async (request: OneBroadcast) => {
      await work(sql, ...idsOf(request));
      return {};
    };
  return {
    startBroadcast: async (request) => ({
      queued: BigInt(await lifeCycle.startBroadcast(sql, ...idsOf(request), maxQueued)),
    }),
    pauseBroadcast: act(lifeCycle.pauseBroadcast),
    resumeBroadcast: act(lifeCycle.resumeBroadcast),
    cancelBroadcast: act(lifeCycle.cancelBroadcast),
    resetBroadcast: act(lifeCycle.resetBroadcast),
    deleteBroadcast: act(lifeCycle.deleteBroadcast),
  } satisfies Partial<ServiceImpl<typeof BroadcastService>>;
}

function idsOf(request: OneBroadcast): [accountId: number, broadcastId: number] {
  return [Number(request.accountId), Number(request.broadcastId)];
}

function progressToMessage(progress: Progress): ProgressMessage {
  return create(ProgressSchema, {
    state: stateToMessage(progress.state),
    counters: countersToMessage(progress.counters),
    pauseReason: progress.pauseReason,
    waiting: progress.waiting.map(({ reason, botId, until, message }) => ({
      reason,
      botId: BigInt(botId),
      untilTime: until ? timestampFromDate(until) : undefined,
      message,
    })),
    ratePerSecond: progress.ratePerSecond,
    etaSeconds: progress.etaSeconds === undefined ? undefined : BigInt(progress.etaSeconds),
  });
}
