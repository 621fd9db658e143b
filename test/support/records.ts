/** Holds what the ledger says against what the stand-in Bot API accepted. */
import { expect } from "bun:test";
import { SendState } from "#services/core/ledger/send.ts";
import type { RecordedMessage } from "#services/local/sandbox/messages.ts";
import type { BroadcastReply, Customer, LedgerRow } from "./customer.ts";
import type { System } from "./system.ts";

/** Fails if any chat has got two messages, whatever they said. */
export async function expectNobodyTwice({ sandbox }: System): Promise<void> {
  expect({ duplicates: await sandbox.duplicates(), twice: await sandbox.chatsOver(1) }).toEqual({
    duplicates: [],
    twice: [],
  });
}

/** What became of how many leads, by the rows. */
export function countStates(rows: LedgerRow[]): Record<keyof typeof SendState, number> {
  const count = (state: number) => rows.filter((row) => row.state === state).length;
  return {
    queued: count(SendState.queued),
    sending: count(SendState.sending),
    sent: count(SendState.sent),
    failed: count(SendState.failed),
    unconfirmed: count(SendState.unconfirmed),
    dropped: count(SendState.dropped),
  };
}

/** Fails unless the reply's counters are the rows': REST counts unconfirmed in failed, and what is on the wire in queued. */
export function expectCounters({ sent, queued, failed }: BroadcastReply, rows: LedgerRow[]): void {
  const states = countStates(rows);
  expect({ sent, queued, failed }).toEqual({
    sent: states.sent,
    queued: states.queued + states.sending,
    failed: states.failed + states.unconfirmed,
  });
}

/** One line for each message: the bot, the chat and Telegram's number of the message. */
export function linesOfRecord(messages: RecordedMessage[]): string[] {
  return messages.map(({ bot, chat, message_id }) => `${bot} ${chat} ${message_id}`).sort();
}

/** The same lines for what the ledger has as sent. */
export function linesOfSent(rows: LedgerRow[], { bots }: Customer): string[] {
  const sandboxIds = new Map(bots.map(({ id, sandboxId }) => [id, sandboxId]));
  return rows
    .filter((row) => row.state === SendState.sent)
    .map(({ botId, chatId, messageId }) => `${sandboxIds.get(botId)} ${chatId} ${messageId}`)
    .sort();
}
