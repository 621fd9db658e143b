import type { TransactionSql } from "#services/core/database/client.ts";
import type { Logger } from "#services/platform/log.ts";
import { hashesOf, type PeopleContext } from "./opt-out.ts";
import * as store from "./opt-out-store.ts";

const TASK = "remember_opt_outs";
/** Leads that are looked at in one transaction: some 20 ms. */
const WINDOW = 10_000;

/**
 * Remembers the opt-outs of leads from before opt-outs were remembered, a window of leads in a transaction. All copies share
 * its progress, so a start may be killed and several may come at once, and it is done once for a database.
 */
export async function rememberOptOuts(context: PeopleContext & { log: Logger }): Promise<void> {
  let remembered = 0;
  for (;;) {
    const inWindow = (await context.sql.begin((tx) => rememberWindow(tx, context))) as number | undefined;
    if (inWindow === undefined) break;
    remembered += inWindow;
  }
  if (remembered > 0) context.log.info({ remembered }, "opt-outs of before are remembered now");
}

/** @returns how many it has remembered; undefined when there was nothing left. */
async function rememberWindow(tx: TransactionSql, context: PeopleContext): Promise<number | undefined> {
  const { through: after, finished } = await store.lockProgress(tx, TASK);
  if (finished) return undefined;
  const through = await store.selectWindowEnd(tx, after, WINDOW);
  await store.updateProgress(tx, TASK, through);
  if (through === undefined) return undefined;
  const leads = await store.selectOptedOut(tx, { after, through });
  await store.insertFormerOptOuts(
    tx,
    leads.map((lead) => hashesOf(context, lead, lead)[0]!),
  );
  return leads.length;
}
