import { noteChange } from "#services/core/audit/record.ts";
import type { Sql } from "#services/core/database/client.ts";
import { inTransaction } from "#services/core/ledger/transaction.ts";
import { DomainError, ErrorReason, notYours } from "#services/platform/domain-error.ts";
import { type BroadcastRoom, insertBroadcast, lockBroadcastRoom } from "./store.ts";

/**
 * Creates a draft. Who has more than the tariff allows, because it was another one before, keeps all.
 * Throws DomainError LIMIT_REACHED where there is no room for one more, NOT_YOURS for an account that does not exist.
 */
export async function createBroadcast(sql: Sql, accountId: number, name: string): Promise<number> {
  return await inTransaction(sql, async (tx) => {
    const room = await lockBroadcastRoom(tx, accountId);
    if (room === undefined) throw notYours("account");
    requireRoom(room);
    const id = await insertBroadcast(tx, accountId, name);
    noteChange({ object: { kind: "broadcast", id: String(id) } });
    return id;
  });
}

function requireRoom({ count, max }: BroadcastRoom): void {
  if (count < max) return;
  const surplus = count - max + 1;
  throw new DomainError(
    ErrorReason.LIMIT_REACHED,
    `You have ${count} broadcasts and your tariff allows ${max}: delete ${surplus} to make room for a new one.`,
  );
}
