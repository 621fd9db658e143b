/**
 * Holds the ledger against what the Bot API accepted. It shares no statement with the product: it reads the tables whole and
 * does its sums here, and it knows what arrived only from the sandbox.
 */
import type { Sql } from "#services/core/database/client.ts";
import type { SandboxControl } from "#services/local/sandbox/control.ts";
import type { RecordedMessage } from "#services/local/sandbox/messages.ts";

/** The states' numbers, written down a second time on purpose. */
const QUEUED = 0;
const SENDING = 1;
const SENT = 2;
const FAILED = 3;
const UNCONFIRMED = 4;
const DROPPED = 5;
/** A claim whose owner was gone. */
const OWNER_GONE = 40;

export interface CheckInput {
  sql: Sql;
  sandbox: SandboxControl;
  /** Sources by the tag in their messages' text. */
  tags: ReadonlyMap<number, number>;
  /** Claims that were open when some delivery process was killed or frozen, as `keyOf` names them. */
  openAtKills: ReadonlySet<string>;
  /** The same for moments at which delivery and Postgres lost each other. */
  openAtCuts: ReadonlySet<string>;
}

export interface Figures {
  /** Rows of the ledger, those of deleted and reset generations included. */
  leads: number;
  accepted: number;
  sent: number;
  failed: number;
  dropped: number;
  unconfirmed: number;
  /** Of the unconfirmed, those that the Bot API had accepted, and those that a dead or frozen process left. */
  unconfirmedAccepted: number;
  unconfirmedOwnerGone: number;
  /** Of these, the ones that no death or freeze explains: the answer to the claim's commit was lost. */
  unconfirmedClaimLost: number;
  /** The promises, as counts of what breaks them. */
  messagedTwice: number;
  acceptedWithoutRecord: number;
  sentNotAccepted: number;
}

export interface Verdict {
  figures: Figures;
  /** One sentence for each thing that contradicts a promise; empty for a good run. At most `MAX_SENTENCES`. */
  violations: string[];
}

const MAX_SENTENCES = 40;

interface Row {
  sourceId: number;
  leadId: number;
  entry: number;
  botId: number;
  chatId: number;
  state: number;
  reason: number;
  kind: number;
  run: number;
  messageId: number | null;
  quotaDay: string | null;
  archived: boolean;
}

/** Keeps what the product deletes (the rows of ended generations), so that they can be checked as well. */
export async function keepDeletedRows(sql: Sql): Promise<void> {
  await sql`CREATE TABLE chaos_deleted_send (LIKE send)`;
  await sql`CREATE FUNCTION chaos_keep() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO chaos_deleted_send SELECT * FROM gone; RETURN NULL; END $$`;
  await sql`CREATE TRIGGER chaos_keep AFTER DELETE ON send REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION chaos_keep()`;
}

export function keyOf(row: { sourceId: number; leadId: number; entry: number }): string {
  return `${row.sourceId}:${row.leadId}:${row.entry}`;
}

/** To be called when faults have stopped and everything is at rest. */
export async function check(input: CheckInput): Promise<Verdict> {
  const rows = await readRows(input.sql);
  const messages = await readMessages(input.sandbox);
  const violations: string[] = [];
  const say = (sentence: string) => {
    if (violations.length < MAX_SENTENCES) violations.push(sentence);
  };
  const figures = checkMessages(rows, messages, input, say);
  for (const row of rows) if (row.state === SENDING) say(`${nameOf(row)} is still on the wire.`);
  await checkCounters(input.sql, rows, say);
  await checkQuota(input.sql, rows, say);
  await checkRest(input.sql, say);
  return { figures, violations };
}

async function readRows(sql: Sql): Promise<Row[]> {
  const columns = `s.source_id AS "sourceId", s.lead_id AS "leadId", s.entry, s.bot_id AS "botId", s.state, s.reason, s.kind,
    s.run, s.message_id AS "messageId", s.quota_day::text AS "quotaDay", l.chat_id AS "chatId"`;
  const rows = await sql.unsafe<Row[]>(`
    SELECT ${columns}, false AS archived FROM send s JOIN lead l ON l.id = s.lead_id
    UNION ALL SELECT ${columns}, true FROM chaos_deleted_send s JOIN lead l ON l.id = s.lead_id`);
  return [...rows];
}

async function readMessages(sandbox: SandboxControl): Promise<RecordedMessage[]> {
  const text = await new Response(await sandbox.exportLines()).text();
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as RecordedMessage);
}

type Say = (sentence: string) => void;

/** Everything between the two records: what arrived, and what the ledger says of it. */
function checkMessages(rows: Row[], messages: RecordedMessage[], input: CheckInput, say: Say): Figures {
  const figures = countRows(rows, messages.length);
  const bySource = Map.groupBy(rows, (row) => `${row.sourceId}:${row.chatId}`);
  const byTag = Map.groupBy(messages, (message) => `${sourceOf(message, input.tags)}:${message.chat}`);
  const accepted = new Set(messages.map((message) => `${message.bot}:${message.chat}:${message.message_id}`));
  for (const [key, arrived] of byTag) {
    const known = bySource.get(key) ?? [];
    const numbers = new Set(known.filter((row) => row.state === SENT).map((row) => row.messageId));
    const unclaimed = arrived.filter((message) => !numbers.has(message.message_id)).length;
    const doubtful = known.filter((row) => row.state === UNCONFIRMED).length;
    figures.unconfirmedAccepted += Math.min(unclaimed, doubtful);
    // One row is one promise: a broadcast has one for each lead, a follow-up one for each entry.
    if (arrived.length > Math.max(1, known.length)) {
      figures.messagedTwice += arrived.length - Math.max(1, known.length);
      say(
        `Chat ${arrived[0]!.chat} got ${arrived.length} messages of source ${key}: ${arrived.map((m) => m.text).join(" | ")}`,
      );
    } else if (unclaimed > doubtful) {
      figures.acceptedWithoutRecord += unclaimed - doubtful;
      const states = known.map((row) => `${nameOf(row)} in state ${row.state}, reason ${row.reason}`);
      say(
        `Chat ${arrived[0]!.chat} got a message that the ledger does not know: ${states.join(", ") || `no row of ${key}`}`,
      );
    }
  }
  for (const row of rows) {
    if (row.state !== SENT || accepted.has(`${7_000_000 + row.botId}:${row.chatId}:${row.messageId}`)) continue;
    figures.sentNotAccepted++;
    say(`${nameOf(row)} is sent, and the Bot API has accepted no such message.`);
  }
  for (const row of rows) {
    if (row.state !== UNCONFIRMED || row.reason !== OWNER_GONE || input.openAtKills.has(keyOf(row))) continue;
    figures.unconfirmedClaimLost++;
    if (!input.openAtCuts.has(keyOf(row)))
      say(`${nameOf(row)} is unconfirmed as its owner is gone, and was not on the wire when anything broke.`);
  }
  return figures;
}

function countRows(rows: Row[], accepted: number): Figures {
  const count = (state: number) => rows.filter((row) => row.state === state).length;
  return {
    leads: rows.length,
    accepted,
    sent: count(SENT),
    failed: count(FAILED),
    dropped: count(DROPPED) + count(QUEUED),
    unconfirmed: count(UNCONFIRMED),
    unconfirmedAccepted: 0,
    unconfirmedClaimLost: 0,
    unconfirmedOwnerGone: rows.filter((row) => row.state === UNCONFIRMED && row.reason === OWNER_GONE).length,
    messagedTwice: 0,
    acceptedWithoutRecord: 0,
    sentNotAccepted: 0,
  };
}

function sourceOf(message: RecordedMessage, tags: ReadonlyMap<number, number>): number {
  return tags.get(Number(/^@(\d+) /.exec(message.text ?? "")?.[1])) ?? -1;
}

function nameOf(row: Row): string {
  return `${row.archived ? "Deleted send" : "Send"} ${keyOf(row)} (chat ${row.chatId})`;
}

/** Counters by source; a queued row of a run that is not open counts as dropped. */
async function checkCounters(sql: Sql, rows: Row[], say: Say): Promise<void> {
  const open = new Map(
    (
      await sql<{ sourceId: number; run: number | null }[]>`
        SELECT source_id AS "sourceId", CASE WHEN state IN (1, 4) THEN run END AS run FROM broadcast
        UNION ALL SELECT source_id, 0 FROM block`
    ).map((row) => [row.sourceId, row.run]),
  );
  const counters = await sql<
    ({ sourceId: number } & Record<string, number>)[]
  >`SELECT source_id AS "sourceId", * FROM send_counter`;
  const bySource = Map.groupBy(rows, (row) => row.sourceId);
  const countersOf = Map.groupBy(counters, (counter) => counter.sourceId);
  for (const [sourceId, run] of open) {
    const ofSource = (bySource.get(sourceId) ?? []).filter((row) => !row.archived);
    const isDropped = (row: Row) => row.state === DROPPED || (row.state === QUEUED && row.run !== run);
    const expected = {
      enqueued: ofSource.length,
      sending: ofSource.filter((row) => row.state === SENDING).length,
      sent: ofSource.filter((row) => row.state === SENT).length,
      failed: ofSource.filter((row) => row.state === FAILED).length,
      unconfirmed: ofSource.filter((row) => row.state === UNCONFIRMED).length,
      dropped: ofSource.filter(isDropped).length,
    };
    for (const [name, value] of Object.entries(expected)) {
      const counted = (countersOf.get(sourceId) ?? []).reduce((sum, row) => sum + Number(row[name]), 0);
      if (counted !== value) say(`Source ${sourceId} has ${value} rows ${name} and counts ${counted}.`);
    }
  }
}

/** What is used of a day is what was claimed for a broadcast and not given back, and never above the cap. */
async function checkQuota(sql: Sql, rows: Row[], say: Say): Promise<void> {
  const accounts = new Map(
    (await sql<{ id: number; accountId: number }[]>`SELECT id, account_id AS "accountId" FROM bot`).map((bot) => [
      bot.id,
      bot.accountId,
    ]),
  );
  const days = await sql<{ accountId: number; day: string; used: number; cap: number }[]>`
    SELECT q.account_id AS "accountId", q.day::text AS day, q.used, t.daily_cap AS cap
    FROM quota_day q JOIN account a ON a.id = q.account_id JOIN tariff t ON t.id = a.tariff_id`;
  const taken = new Map<string, number>();
  for (const row of rows) {
    if (row.kind !== 1 || ![SENDING, SENT, UNCONFIRMED].includes(row.state)) continue;
    const key = `${accounts.get(row.botId)} on ${row.quotaDay}`;
    taken.set(key, (taken.get(key) ?? 0) + 1);
  }
  for (const { accountId, day, used, cap } of days) {
    const key = `${accountId} on ${day}`;
    if (used !== (taken.get(key) ?? 0))
      say(`Account ${key} has used ${used}, and its rows took ${taken.get(key) ?? 0}.`);
    if (cap > 0 && used > cap) say(`Account ${key} has used ${used} of ${cap}.`);
    taken.delete(key);
  }
  for (const [key, rowsTaken] of taken) say(`Account ${key} has no quota day for ${rowsTaken} rows.`);
}

/** Nothing waits for anything but a pause or the cap. */
async function checkRest(sql: Sql, say: Say): Promise<void> {
  const waiting = await sql<{ id: number; state: number; n: number }[]>`
    SELECT b.id, b.state, count(*)::int AS n
    FROM broadcast b JOIN send s ON s.source_id = b.source_id AND s.state = 0 AND s.run = b.run
    JOIN account a ON a.id = b.account_id JOIN tariff t ON t.id = a.tariff_id
    LEFT JOIN quota_day q ON q.account_id = a.id AND q.day = (now() AT TIME ZONE 'utc')::date
    WHERE b.state = 1 AND (t.daily_cap = 0 OR coalesce(q.used, 0) < t.daily_cap) GROUP BY 1, 2`;
  for (const { id, n } of waiting) say(`Broadcast ${id} runs, and ${n} of its sends wait for nothing.`);
  const [due] = await sql<{ n: number }[]>`SELECT count(*)::int AS n FROM send WHERE kind = 2 AND state = 0`;
  if (due!.n > 0) say(`${due!.n} follow-ups that are due have not gone out.`);
}
