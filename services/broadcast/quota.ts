import type { Sql } from "#services/core/database/client.ts";
import { readCounters } from "#services/core/ledger/counters.ts";
import { type DatabaseClock, databaseClock } from "#services/core/ledger/database-clock.ts";
import { notYours } from "#services/platform/domain-error.ts";
import * as store from "./store.ts";

export interface Quota {
  /** Manual messages per UTC day; 0 is unlimited. */
  cap: number;
  /** Manual messages claimed this UTC day, unless given back. */
  used: number;
  /** Messages of both kinds that wait to be sent or are on the wire. */
  queued: number;
}

/** The gauge. Throws DomainError NOT_YOURS. */
export async function getQuota(sql: Sql, accountId: number, clock: DatabaseClock = databaseClock): Promise<Quota> {
  const [quota, sourceIds] = await Promise.all([
    store.selectQuota(sql, accountId, clock.offsetMs()),
    store.selectQueuedSources(sql, accountId),
  ]);
  if (!quota) throw notYours("account");
  const counters = await readCounters(sql, sourceIds);
  const queued = [...counters.values()].reduce((sum, row) => sum + row.queued + row.sending, 0);
  return { ...quota, queued };
}
