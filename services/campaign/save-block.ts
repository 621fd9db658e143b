import { noteChange } from "#services/core/audit/record.ts";
import type { Drizzle, Sql } from "#services/core/database/client.ts";
import { loadEntitlement } from "#services/core/entitlement/entitlement.ts";
import { checkMediaRef } from "#services/core/media/media.ts";
import { notYours } from "#services/platform/domain-error.ts";
import { applyPatch, type Block, type BlockPatch, bodyChanged, checkBlock, checkPatch } from "./block.ts";
import { campaignBelongsTo, insertZeroBlock, lockBlock, updateBlock } from "./block-store.ts";
import type { Queries } from "./bot-store.ts";

/** Names one block of one customer. */
export interface BlockRef {
  accountId: number;
  campaignId: number;
  /** 0 wait … 4 trash. */
  status: number;
}

/** Creates or changes one block. The checks come in the contract's order: parameters, ownership, feature, body. */
export async function saveBlock(
  { sql, db }: { sql: Sql; db: Drizzle },
  ref: BlockRef,
  patch: BlockPatch,
): Promise<Block> {
  checkPatch(patch);
  const entitlement = await loadEntitlement(sql, ref.accountId);
  return await db.transaction(async (tx) => {
    const owned = await campaignBelongsTo(tx, ref.campaignId, ref.accountId);
    if (!owned || entitlement === undefined) throw notYours("campaign");
    const stored = await lockOrCreate(tx, ref);
    const block = applyPatch(stored, patch);
    const parsed = checkBlock(block, entitlement);
    // By the other client and outside the transaction: media stays as it is.
    await checkMediaRef(sql, ref.accountId, block.body);
    const newBody = bodyChanged(stored.body, block.body);
    await updateBlock(tx, ref.campaignId, block, { parsed, newBody });
    noteChange({ object: { kind: "block", id: `${ref.campaignId}/${ref.status}` } });
    return block;
  });
}

/** A refusal later in the transaction takes a new block back. */
async function lockOrCreate(tx: Queries, { campaignId, status }: BlockRef): Promise<Block> {
  const known = await lockBlock(tx, campaignId, status);
  if (known !== undefined) return known;
  await insertZeroBlock(tx, campaignId, status);
  return (await lockBlock(tx, campaignId, status))!;
}
