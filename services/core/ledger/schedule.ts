/** Schedule: what entering a status leaves in the ledger. */
import type { TransactionSql } from "#services/core/database/client.ts";
import { CounterDeltas } from "./counters.ts";
import { SendKind, SendState } from "./send.ts";
import { CampaignState } from "./source.ts";

/** One lead's entry into a status, as this transaction has stored it. */
export interface LeadEntry {
  leadId: number;
  /** The how many-th entry of this lead. */
  entry: number;
  /** 0 wait … 4 trash. */
  status: number;
  /** Microseconds since the Unix epoch. */
  statusTimeUs: number;
}

/**
 * Schedules the follow-ups of entries that this transaction has made: one ledger row for each whose status has a block
 * that is on, in a live campaign. The ledger's key holds the entry, so that an entry is scheduled once however often it is
 * reported.
 *
 * The entries are passed in rather than read from the leads again: a cached plan that finds 10,000 leads by a join was
 * seen to take seconds. The caller holds the leads' rows; counters come last, because calls of one campaign meet there.
 */
export async function scheduleFollowUps(
  tx: TransactionSql,
  { id: campaignId, botId }: { id: number; botId: number },
  entries: readonly LeadEntry[],
): Promise<void> {
  if (entries.length === 0) return;
  const rows = await tx<{ sourceId: number; scheduled: number }[]>`
    WITH scheduled AS (
      INSERT INTO send (source_id, lead_id, entry, bot_id, kind, due_at, state)
      SELECT b.source_id, k.lead_id, k.entry, ${botId}, ${SendKind.followUp}::smallint,
        timestamptz 'epoch' + k.status_us * interval '1 microsecond' + b.delay_seconds * interval '1 second',
        ${SendState.queued}::smallint
      FROM unnest(${entries.map((e) => e.leadId)}::bigint[], ${entries.map((e) => e.entry)}::int[],
        ${entries.map((e) => e.status)}::smallint[], ${entries.map((e) => e.statusTimeUs)}::bigint[])
        AS k (lead_id, entry, status, status_us)
      JOIN block b ON b.campaign_id = ${campaignId} AND b.status = k.status AND b.on
      JOIN campaign c ON c.id = b.campaign_id AND c.state = ${CampaignState.live}
      ON CONFLICT DO NOTHING
      RETURNING source_id)
    SELECT source_id AS "sourceId", count(*)::int AS scheduled FROM scheduled GROUP BY source_id`;
  const deltas = new CounterDeltas();
  for (const { sourceId, scheduled } of rows) deltas.schedule(sourceId, scheduled);
  await deltas.write(tx);
}
