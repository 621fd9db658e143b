/**
 * The observer of a server's calls: writes down those that were refused for what they may not reach or for a bad token, and
 * complains of a change that went without an entry. A refusal changes nothing, so its entry is written by itself and nobody waits for
 * it; few are, because a stranger decides how many there are to write.
 */
import { randomUUID } from "node:crypto";
import type { Sql } from "#services/core/database/client.ts";
import { addressBucket } from "#services/platform/client-address.ts";
import type { Clock } from "#services/platform/clock.ts";
import { ErrorReason } from "#services/platform/domain-error.ts";
import type { Logger } from "#services/platform/log.ts";
import type { CallObserver, RefusedCall } from "#services/platform/rpc/call.ts";
import { wasLookedAt } from "./record.ts";
import * as store from "./store.ts";
import { subjectOf } from "./subject.ts";

/** What REST calls `access`, and bad tokens. Everything else that is refused says nothing of who may do what. */
const OUTCOMES: ReadonlyMap<ErrorReason, string> = new Map([
  [ErrorReason.NOT_YOURS, "not_yours"],
  [ErrorReason.FORBIDDEN, "forbidden"],
  [ErrorReason.UNAUTHENTICATED, "unauthenticated"],
  [ErrorReason.SESSION_INVALID, "session_invalid"],
]);

const PER_ADDRESS = 10;
/** Whoever has thousands of addresses does not fill the table either. */
const PER_PROCESS = 600;
const WINDOW_MS = 60_000;

export interface AuditorOptions {
  sql: Sql;
  clock: Clock;
  log: Logger;
}

export interface Auditor extends CallObserver {
  /** Resolves when what was refused so far is written or given up. */
  flush(): Promise<void>;
}

export function createAuditor({ sql, clock, log }: AuditorOptions): Auditor {
  const allowed = createAllowance(clock);
  const writing = new Set<Promise<void>>();

  async function write(call: RefusedCall, outcome: string): Promise<void> {
    const { accountId, object } = subjectOf(call.message);
    const fields = { ...call.caller, accountId, object, call: call.rpc, outcome, changes: 0 };
    const row = { ...fields, id: randomUUID(), slot: 0, calls: 1 };
    await store.insertEntry(sql, row, { at: undefined, certain: true });
  }

  return {
    succeeded: (call) => {
      if (!wasLookedAt(call)) log.error({ rpc: call.rpc }, "a call that may change something left no audit entry");
    },
    refused: (call) => {
      const outcome = OUTCOMES.get(call.reason);
      if (outcome === undefined || !allowed(addressBucket(call.caller.address))) return;
      const done = write(call, outcome)
        .catch((error) => log.warn({ err: error }, "a refusal could not be written into the audit log"))
        .finally(() => writing.delete(done));
      writing.add(done);
    },
    flush: async () => void (await Promise.all(writing)),
  };
}

/** Counts in windows of a minute, so that the memory of one minute is all there is. */
function createAllowance(clock: Clock): (address: string) => boolean {
  let counts = new Map<string, number>();
  let total = 0;
  let windowEnds = 0;
  return (address) => {
    const now = clock.monotonicMs();
    if (now >= windowEnds) {
      counts = new Map();
      total = 0;
      windowEnds = now + WINDOW_MS;
    }
    const count = counts.get(address) ?? 0;
    if (count >= PER_ADDRESS || total >= PER_PROCESS) return false;
    counts.set(address, count + 1);
    total++;
    return true;
  };
}
