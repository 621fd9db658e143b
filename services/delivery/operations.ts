/** What operators can do: hold, release, look, rebuild, and accept a restored database. */
import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { JetStreamManager } from "nats";
import { type DeliveryService, LaneSchema, LeaseSchema } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { noteChange, recordOutside } from "#services/audit/record.ts";
import type { Sql } from "#services/database/client.ts";
import { type DatabaseClock, databaseClock } from "#services/ledger/database-clock.ts";
import { ALL_BOTS, type HoldReason } from "#services/ledger/send.ts";
import { notYours } from "#services/platform/domain-error.ts";
import { deleteStream, ensureStream, type StreamOptions } from "#services/queue/streams.ts";
import { acceptRestore } from "./restore.ts";
import * as store from "./store.ts";

export interface OperationsOptions {
  sql: Sql;
  databaseClock?: DatabaseClock;
  jsm: JetStreamManager;
  stream: StreamOptions;
}

type Handlers = Pick<
  ServiceImpl<typeof DeliveryService>,
  "holdBot" | "holdAll" | "release" | "listLanes" | "listLeases" | "rebuildStream" | "acceptRestore"
>;

export function operations(options: OperationsOptions): Handlers {
  const { sql, jsm, stream } = options;
  const offsetMs = () => (options.databaseClock ?? databaseClock).offsetMs();
  return {
    holdBot: async ({ botId, message }) => {
      if (!(await store.botExists(sql, Number(botId)))) throw notYours("bot");
      await hold(sql, Number(botId), message || "Held by an operator.");
      return {};
    },
    holdAll: async ({ message }) => {
      await hold(sql, ALL_BOTS, message || "All sending is held by an operator.");
      return {};
    },
    release: async ({ botId }) => {
      await sql.begin(async (tx) => {
        const changes = await store.deleteAnyHold(tx, Number(botId));
        noteChange({ object: { kind: "bot", id: String(botId) }, changes });
      });
      return {};
    },
    listLanes: async () => ({ lanes: (await store.selectHolds(sql, offsetMs())).map(laneToMessage) }),
    listLeases: async () => ({ leases: (await store.selectLeases(sql)).map(leaseToMessage) }),
    rebuildStream: async () => {
      noteChange({ object: { kind: "stream", id: "" } });
      await recordOutside(sql, async () => {
        await deleteStream(jsm);
        await ensureStream(jsm, stream);
      });
      return {};
    },
    acceptRestore: async ({ nothingLost }) => ({ unconfirmed: BigInt(await acceptRestore(sql, { nothingLost })) }),
  };
}

async function hold(sql: Sql, botId: number, message: string): Promise<void> {
  await sql.begin(async (tx) => {
    await store.upsertOperatorHold(tx, botId, message);
    noteChange({ object: { kind: "bot", id: String(botId) } });
  });
}

function laneToMessage(row: store.HoldRow) {
  const { botId, reason, message, until } = row;
  return create(LaneSchema, {
    botId: BigInt(botId),
    reason: reason satisfies HoldReason as number,
    message,
    untilTime: until ? timestampFromDate(until) : undefined,
  });
}

function leaseToMessage(row: store.LeaseRow) {
  return create(LeaseSchema, {
    role: row.role as number,
    shard: row.shard,
    owner: row.owner ?? "",
    fence: BigInt(row.fence),
    expireTime: row.expiresAt ? timestampFromDate(row.expiresAt) : undefined,
  });
}
