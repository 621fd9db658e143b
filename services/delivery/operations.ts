/** What operators can do: hold, release, look, rebuild, and accept a restored database. */
import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { JetStreamManager } from "nats";
import { type DeliveryService, LaneSchema, LeaseSchema } from "#gen/leadcast/delivery/v1/delivery_service_pb.ts";
import { noteChange, recordOutside } from "#services/core/audit/record.ts";
import type { Sql } from "#services/core/database/client.ts";
import { type DatabaseClock, databaseClock } from "#services/core/ledger/database-clock.ts";
import { ALL_BOTS, HoldReason } from "#services/core/ledger/send.ts";
import { inTransaction } from "#services/core/ledger/transaction.ts";
import { deleteStream, ensureStream, type StreamOptions } from "#services/core/queue/streams.ts";
import { DomainError, ErrorReason, notYours } from "#services/platform/domain-error.ts";
import * as holds from "./holds-store.ts";
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
      const remaining = await release(sql, Number(botId), offsetMs());
      return { remaining: remaining.map(laneToMessage) };
    },
    listLanes: async () => ({ lanes: (await holds.selectHolds(sql, offsetMs())).map(laneToMessage) }),
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
    await holds.upsertOperatorHold(tx, botId, message);
    noteChange({ object: { kind: "bot", id: String(botId) } });
  });
}

/** What Release lifts. The others end in a way of their own, which is told. */
const LIFTABLE: readonly HoldReason[] = [
  HoldReason.operator,
  HoldReason.tokenDead,
  HoldReason.botFault,
  HoldReason.breaker,
];

/**
 * Lifts what can be lifted; delivery's memory follows within a second. Throws DomainError WRONG_STATE where nothing could be
 * lifted and something stands.
 * @returns what still holds the bot.
 */
async function release(sql: Sql, botId: number, offsetMs: number): Promise<holds.HoldRow[]> {
  const { lifted, remaining } = await inTransaction(sql, async (tx) => {
    const changes = await holds.deleteHolds(tx, botId, LIFTABLE);
    noteChange({ object: { kind: "bot", id: String(botId) }, changes });
    return { lifted: changes, remaining: await holds.selectHolds(tx, offsetMs, botId) };
  });
  const [first] = remaining;
  if (lifted === 0 && first) throw new DomainError(ErrorReason.WRONG_STATE, whyItStays(first));
  return remaining;
}

function whyItStays({ reason, until }: holds.HoldRow): string {
  switch (reason) {
    case HoldReason.rateLimited:
      return `Telegram has asked this bot to wait until ${until?.toISOString()}: the hold ends then, and cannot be lifted before.`;
    case HoldReason.duplicate:
      return "Another bot has the same number: give this one a bot of its own by PutBot, which lifts the hold.";
    case HoldReason.restored:
      return "The database was restored or failed over: look at it, and call AcceptRestore.";
    default:
      return "This hold cannot be lifted.";
  }
}

function laneToMessage(row: holds.HoldRow) {
  const { botId, reason, message, until, since, nextTry, tries } = row;
  return create(LaneSchema, {
    botId: BigInt(botId),
    reason: reason satisfies HoldReason as number,
    message,
    untilTime: until ? timestampFromDate(until) : undefined,
    sinceTime: timestampFromDate(since),
    nextTryTime: nextTry ? timestampFromDate(nextTry) : undefined,
    tries,
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
