import { type Chats, createChats } from "./chats.ts";
import type { BotReport, CallbackAnswer, ChatCount, Duplicate, MessageQuery, RefusedCall, Totals } from "./control.ts";
import { checkFields, queryFields } from "./control-fields.ts";
import { type BusiestSecond, createBusiestSecond } from "./limits.ts";
import { createMessages, type NewMessage, type RecordedMessage } from "./messages.ts";

const keptLogEntries = 10_000;
const linesPerChunk = 1_000;

/**
 * Everything that arrived, and what became of it. Counts per bot and per chat are exact for any number of messages;
 * only bodies and the lists of refusals and answers are bounded.
 */
export interface SandboxRecord {
  arrived(bot: number, isSend: boolean, insideRetryAfter: boolean, atMs: number): void;
  accepted(message: Omit<NewMessage, "messageId">): number;
  refused(call: RefusedCall): void;
  answered(answer: CallbackAnswer): void;
  chats(bot: number): Chats;
  totals(): Totals;
  report(bot: number): BotReport;
  reports(): BotReport[];
  messages(query: MessageQuery): RecordedMessage[];
  chatsOver(count: number, bot?: number): ChatCount[];
  duplicates(bot?: number): Duplicate[];
  refusals(bot?: number): RefusedCall[];
  callbackAnswers(bot?: number): CallbackAnswer[];
  lines(): ReadableStream<Uint8Array>;
  keepBodies(count: number): void;
  clear(): void;
}

interface BotCounts {
  chats: Chats;
  calls: number;
  accepted: number;
  uploads: number;
  insideRetryAfter: number;
  refused: Map<string, number>;
  arrivals: BusiestSecond;
  acceptances: BusiestSecond;
}

export function createRecord(keepBodies: number): SandboxRecord {
  const messages = createMessages(keepBodies);
  const bots = new Map<number, BotCounts>();
  const refusals: RefusedCall[] = [];
  const answers: CallbackAnswer[] = [];

  function countsOf(bot: number): BotCounts {
    const found = bots.get(bot);
    if (found) return found;
    const made = freshCounts(createChats());
    bots.set(bot, made);
    return made;
  }

  function arrived(bot: number, isSend: boolean, insideRetryAfter: boolean, atMs: number): void {
    const counts = countsOf(bot);
    counts.calls++;
    if (isSend) counts.arrivals.add(atMs);
    if (isSend && insideRetryAfter) counts.insideRetryAfter++;
  }

  function accepted(message: Omit<NewMessage, "messageId">): number {
    const counts = countsOf(message.bot);
    const messageId = counts.chats.next(counts.chats.row(message.chat, true));
    counts.accepted++;
    if (message.uploaded) counts.uploads++;
    counts.acceptances.add(message.arrivedMs);
    messages.add({ ...message, messageId });
    return messageId;
  }

  function refused(call: RefusedCall): void {
    const counts = countsOf(call.bot).refused;
    counts.set(call.kind, (counts.get(call.kind) ?? 0) + 1);
    pushBounded(refusals, call);
  }

  function clear(): void {
    messages.clear();
    refusals.length = 0;
    answers.length = 0;
    for (const [bot, { chats }] of bots) {
      chats.clearCounts();
      bots.set(bot, freshCounts(chats));
    }
  }

  const wanted = (bot?: number): [number, BotCounts][] =>
    bot === undefined ? [...bots] : bots.has(bot) ? [[bot, bots.get(bot)!]] : [];
  const chatsOver = (count: number, bot?: number): ChatCount[] =>
    wanted(bot).flatMap(([id, counts]) => counts.chats.over(count).map((found) => ({ bot: id, ...found })));

  return {
    arrived,
    accepted,
    refused,
    answered: (answer) => pushBounded(answers, answer),
    chats: (bot) => countsOf(bot).chats,
    totals: () => totalsOf([...bots.values()]),
    report: (bot) => reportOf(bot, bots.get(bot) ?? freshCounts(createChats())),
    reports: () => [...bots].map(([bot, counts]) => reportOf(bot, counts)),
    messages: (query) => foundMessages(messages, query),
    chatsOver,
    duplicates: (bot) => foundDuplicates(messages, chatsOver(1, bot)),
    refusals: (bot) => newest(refusals, bot),
    callbackAnswers: (bot) => newest(answers, bot),
    lines: () => messageLines(messages),
    keepBodies: (count) => messages.keepBodies(count),
    clear,
  };
}

function freshCounts(chats: Chats): BotCounts {
  const arrivals = createBusiestSecond();
  const acceptances = createBusiestSecond();
  return { chats, calls: 0, accepted: 0, uploads: 0, insideRetryAfter: 0, refused: new Map(), arrivals, acceptances };
}

function reportOf(bot: number, counts: BotCounts): BotReport {
  return {
    bot,
    calls: counts.calls,
    accepted: counts.accepted,
    distinctChats: counts.chats.distinct(),
    mostPerChat: counts.chats.most(),
    uploads: counts.uploads,
    busiestSecond: { arrived: counts.arrivals.peak(), accepted: counts.acceptances.peak() },
    refused: Object.fromEntries(counts.refused),
    insideRetryAfter: counts.insideRetryAfter,
  };
}

function totalsOf(bots: readonly BotCounts[]): Totals {
  const totals: Totals = { accepted: 0, refused: 0, uploads: 0, distinctChats: 0, mostPerChat: 0, refusedByKind: {} };
  for (const bot of bots) {
    totals.accepted += bot.accepted;
    totals.uploads += bot.uploads;
    totals.distinctChats += bot.chats.distinct();
    totals.mostPerChat = Math.max(totals.mostPerChat, bot.chats.most());
    for (const [kind, count] of bot.refused) {
      totals.refused += count;
      totals.refusedByKind[kind] = (totals.refusedByKind[kind] ?? 0) + count;
    }
  }
  return totals;
}

type Messages = ReturnType<typeof createMessages>;

function foundMessages(messages: Messages, query: MessageQuery): RecordedMessage[] {
  checkFields("query", query, queryFields);
  const limit = Math.min(query.limit ?? 1_000, 100_000);
  const found: RecordedMessage[] = [];
  let toSkip = query.offset ?? 0;
  for (let i = 0; i < messages.size() && found.length < limit; i++) {
    const index = query.newest ? messages.size() - 1 - i : i;
    if (query.bot !== undefined && messages.bot(index) !== query.bot) continue;
    if (query.chat !== undefined && messages.chat(index) !== query.chat) continue;
    if (toSkip > 0) toSkip--;
    else found.push(messages.at(index));
  }
  return found;
}

/** Only chats with more than one message are looked at: in a healthy run of a million there are none. */
function foundDuplicates(messages: Messages, chats: readonly ChatCount[]): Duplicate[] {
  if (chats.length === 0) return [];
  const suspects = new Set(chats.map(({ bot, chat }) => `${bot}:${chat}`));
  const groups = new Map<string, number[]>();
  for (let index = 0; index < messages.size(); index++) {
    const pair = `${messages.bot(index)}:${messages.chat(index)}`;
    if (!suspects.has(pair)) continue;
    const key = `${pair}:${messages.fingerprint(index)}`;
    const group = groups.get(key);
    if (group) group.push(index);
    else groups.set(key, [index]);
  }
  return [...groups.values()].filter((group) => group.length > 1).map((group) => duplicateOf(messages, group));
}

function duplicateOf(messages: Messages, group: readonly number[]): Duplicate {
  const { bot, chat, text } = messages.at(group.at(-1)!);
  return { bot, chat, text, count: group.length, messageIds: group.map((index) => messages.messageId(index)) };
}

function messageLines(messages: Messages): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let index = 0;
  return new ReadableStream({
    pull(controller) {
      let chunk = "";
      for (const end = Math.min(index + linesPerChunk, messages.size()); index < end; index++) {
        chunk += `${JSON.stringify(messages.at(index))}\n`;
      }
      if (chunk === "") controller.close();
      else controller.enqueue(encoder.encode(chunk));
    },
  });
}

/** Trims in big steps, so that a flood of refusals does not move the whole list each time. */
function pushBounded<Entry>(log: Entry[], entry: Entry): void {
  log.push(entry);
  if (log.length >= keptLogEntries * 2) log.splice(0, log.length - keptLogEntries);
}

function newest<Entry extends { bot: number }>(log: readonly Entry[], bot: number | undefined): Entry[] {
  return log.slice(-keptLogEntries).filter((entry) => bot === undefined || entry.bot === bot);
}
