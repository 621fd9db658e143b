/** Customers as rows: accounts, bots, campaigns and leads in the amounts that a row asks for. */
import type { Sql } from "#services/core/database/client.ts";
import type { SecretBox } from "#services/platform/secrets.ts";

export interface WorldOptions {
  bots: number;
  /** Spread over the bots in turn, a campaign each. */
  leads: number;
  /** Default 30. */
  messagesPerSecond?: number;
  /** Seals the bots' tokens; without it nothing can be sent. */
  secretBox?: SecretBox;
}

export interface World {
  accountId: number;
  botIds: number[];
  campaignIds: number[];
}

export const messageText = "We miss you: 20 % off everything until Sunday, for you and a friend.";
export const button = { text: "Claim", link: "https://example.com/back?click={click}" };

/** Of the bench's bots, for a Bot API that takes any. */
export function tokenOf(botId: number): string {
  return `${1_000_000 + botId}:${"b".repeat(35)}`;
}

/** One paid account without a cap. Statistics are fresh afterwards, as autovacuum would have made them. */
export async function createWorld(sql: Sql, options: WorldOptions): Promise<World> {
  const { bots, leads, messagesPerSecond = 30, secretBox } = options;
  const accountId = await insertAccount(sql);
  const numbers = await sql<{ id: number }[]>`
    SELECT nextval('bot_id_seq') AS id FROM generate_series(1, ${bots}::int)`;
  const botIds = numbers.map((row) => row.id);
  const sealed = botIds.map((id) => secretBox?.encrypt(tokenOf(id), `bot:${id}`) ?? "unknown");
  await sql`
    INSERT INTO bot (id, account_id, username, token_sealed, webhook_secret, messages_per_second)
    SELECT k.id, ${accountId}, 'bench_' || k.id, k.sealed, 'secret', ${messagesPerSecond}
    FROM unnest(${botIds}::bigint[], ${sealed}::text[]) AS k (id, sealed)`;
  const campaigns = await sql<{ id: number }[]>`
    INSERT INTO campaign (account_id, bot_id, name, code)
    SELECT ${accountId}, k, 'Campaign of ' || k, 'c' || k FROM unnest(${botIds}::bigint[]) AS k ORDER BY k RETURNING id`;
  const world = { accountId, botIds, campaignIds: campaigns.map((row) => row.id) };
  await addLeads(sql, world, leads);
  return world;
}

async function insertAccount(sql: Sql): Promise<number> {
  const [row] = await sql<{ id: number }[]>`
    WITH t AS (INSERT INTO tariff (name, broadcasts, daily_cap) VALUES ('bench', true, 0) RETURNING id)
    INSERT INTO account (name, tariff_id, paid_until) SELECT 'bench', id, now() + interval '1 year' FROM t RETURNING id`;
  return row!.id;
}

/** Adds leads, each in a chat of its own, in the five statuses in turn. */
export async function addLeads(sql: Sql, world: World, count: number): Promise<void> {
  const { botIds, campaignIds } = world;
  await sql`
    INSERT INTO lead (campaign_id, bot_id, chat_id, status, status_time, created_time, click, user_name, username)
    SELECT (${campaignIds}::bigint[])[1 + i % ${botIds.length}::int], (${botIds}::bigint[])[1 + i % ${botIds.length}::int],
      500000000 + first.id + i, i % 5, now() - i * interval '1 second', now() - interval '30 days', 'click' || i,
      'Lead Number ' || i, 'lead_' || i
    FROM generate_series(0, ${count - 1}::int) AS i,
      (SELECT coalesce(max(chat_id) - 500000000, 0) + 1 AS id FROM lead) AS first`;
  await sql`VACUUM ANALYZE lead`;
}

/** A draft to all leads of the account. */
export async function addBroadcast(sql: Sql, accountId: number): Promise<number> {
  const [row] = await sql<{ id: number }[]>`
    INSERT INTO broadcast (account_id, name, source_id, statuses, text, parsed, button, link)
    VALUES (${accountId}, 'bench', nextval('source_id_seq'), 31, ${messageText},
      ${sql.json({ text: messageText, entities: [] })}, ${button.text}, ${button.link}) RETURNING id`;
  return row!.id;
}

/** Forgets every send, at once and whatever their number; broadcasts are drafts again. */
export async function emptyLedger(sql: Sql): Promise<void> {
  await sql`UPDATE broadcast SET state = 3, epoch = epoch + 1`;
  await sql`TRUNCATE send, send_counter, retired_source`;
  await sql`UPDATE broadcast SET state = 0, run = 0, source_id = nextval('source_id_seq'), accepted_revision = 0`;
}

/** How many sends of the broadcast have been accepted, and how many are settled in any way. */
export async function countSettled(sql: Sql, broadcastId: number): Promise<{ sent: number; settled: number }> {
  const [row] = await sql<{ sent: number; settled: number }[]>`
    SELECT coalesce(sum(c.sent), 0)::bigint AS sent,
      coalesce(sum(c.sent + c.failed + c.unconfirmed + c.dropped), 0)::bigint AS settled
    FROM broadcast b JOIN send_counter c USING (source_id) WHERE b.id = ${broadcastId}`;
  return row!;
}
