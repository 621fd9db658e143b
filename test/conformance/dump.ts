/** Everything that the database holds of one account, in a form that is equal for two accounts that were treated alike. */
import type { Sql } from "#services/core/database/client.ts";

type Row = Record<string, unknown>;

/** Columns that name something: each value becomes its place among the account's own. */
const names: Record<string, string> = {
  account_id: "account",
  bot_id: "bot",
  campaign_id: "campaign",
  broadcast_id: "broadcast",
  source_id: "source",
  lead_id: "lead",
  chat_id: "chat",
  media: "media",
  ref: "media",
  // Telegram's number of a bot, which no two have.
  number: "number",
};

/** Columns of which only matters whether they are set: moments of our own, tokens, what Telegram assigns. */
const shown = new Set([
  "started_at",
  "created_at",
  "settled_at",
  "rescue_at",
  "due_at",
  "claim_token",
  "message_id",
  "quota_day",
  "day",
  "taken_at",
  "touched_at",
]);

/** Columns left out: secrets of no meaning, and what moves by itself. */
const left = new Set(["token_sealed", "webhook_secret", "webhook_secret_sealed"]);

export async function dumpOf(sql: Sql, accountId: bigint): Promise<Record<string, Row[]>> {
  const tables = await rawRowsOf(sql, Number(accountId));
  const places = new Map<string, Map<unknown, number>>();
  const place = (kind: string, value: unknown): string => {
    const known = places.get(kind) ?? places.set(kind, new Map()).get(kind)!;
    if (!known.has(value)) known.set(value, known.size);
    return `${kind} ${known.get(value)}`;
  };
  const entries = Object.entries(tables).map(([table, rows]) => [
    table,
    rows.map((row) => normalised(table, row, place)),
  ]);
  return Object.fromEntries(entries);
}

function normalised(table: string, row: Row, place: (kind: string, value: unknown) => string): Row {
  const columns = Object.entries(row).filter(([column]) => !left.has(column));
  return Object.fromEntries(
    columns.map(([column, value]) => {
      const kind = column === "id" ? table : names[column];
      if (kind !== undefined && value !== "" && value !== null) return [column, place(kind, value)];
      return [column, shown.has(column) ? value !== null : value];
    }),
  );
}

/** The same without touching ids and moments, as one text: equal only if no row of the account has changed. */
export async function fingerprintOf(sql: Sql, accountIds: readonly bigint[]): Promise<string> {
  const dumps = await Promise.all(accountIds.map((accountId) => rawRowsOf(sql, Number(accountId))));
  return new Bun.CryptoHasher("sha256").update(JSON.stringify(dumps)).digest("hex");
}

async function rawRowsOf(sql: Sql, accountId: number): Promise<Record<string, Row[]>> {
  const rows = async (query: string): Promise<Row[]> =>
    (await sql.unsafe(query, [accountId])).map((row) => row.row as Row);
  const sources = `(SELECT source_id FROM broadcast WHERE account_id = $1 UNION ALL
    SELECT k.source_id FROM block k JOIN campaign c ON c.id = k.campaign_id WHERE c.account_id = $1)`;
  const tables: Record<string, string> = {
    account: "SELECT to_jsonb(t) - 'tariff_id' - 'paid_until' - 'telegram_chat_id' AS row FROM account t WHERE id = $1",
    bot: "SELECT to_jsonb(t) AS row FROM bot t WHERE account_id = $1 ORDER BY id",
    campaign: "SELECT to_jsonb(t) AS row FROM campaign t WHERE account_id = $1 ORDER BY id",
    block: `SELECT to_jsonb(t) AS row FROM block t JOIN campaign c ON c.id = t.campaign_id WHERE c.account_id = $1
      ORDER BY t.campaign_id, t.status`,
    lead: `SELECT to_jsonb(t) AS row FROM lead t JOIN campaign c ON c.id = t.campaign_id WHERE c.account_id = $1
      ORDER BY t.id`,
    broadcast: "SELECT to_jsonb(t) AS row FROM broadcast t WHERE account_id = $1 ORDER BY id",
    broadcast_campaign: `SELECT to_jsonb(t) AS row FROM broadcast_campaign t JOIN broadcast b ON b.id = t.broadcast_id
      WHERE b.account_id = $1 ORDER BY t.broadcast_id, t.campaign_id`,
    send: `SELECT to_jsonb(t) AS row FROM send t WHERE source_id IN ${sources} ORDER BY source_id, lead_id, entry`,
    send_counter: `SELECT to_jsonb(t) AS row FROM (
        SELECT source_id, sum(enqueued) AS enqueued, sum(sending) AS sending, sum(sent) AS sent, sum(failed) AS failed,
          sum(unconfirmed) AS unconfirmed, sum(dropped) AS dropped
        FROM send_counter WHERE source_id IN ${sources} GROUP BY source_id) t ORDER BY source_id`,
    quota_day: "SELECT to_jsonb(t) AS row FROM quota_day t WHERE account_id = $1 ORDER BY day",
    media: "SELECT to_jsonb(t) AS row FROM media t WHERE account_id = $1 ORDER BY sha256",
    media_chunk: `SELECT jsonb_build_object('ref', t.media_ref, 'n', t.n, 'length', length(t.bytes)) AS row
      FROM media_chunk t JOIN media m ON m.ref = t.media_ref WHERE m.account_id = $1 ORDER BY m.sha256, t.n`,
    media_usage: "SELECT to_jsonb(t) AS row FROM media_usage t WHERE account_id = $1",
    preview_turn: "SELECT to_jsonb(t) AS row FROM preview_turn t WHERE account_id = $1",
  };
  const entries = Object.entries(tables).map(async ([table, query]) => [table, await rows(query)] as const);
  return Object.fromEntries(await Promise.all(entries));
}
