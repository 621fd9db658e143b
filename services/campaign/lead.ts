import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";

/** A lead as a caller reports it. */
export interface LeadInput {
  /** 0 finds the lead of the campaign and chat, or assigns one. */
  id: number;
  chatId: number;
  /** 0 wait … 4 trash. */
  status: number;
  /** Microseconds since the Unix epoch: as fine as Postgres orders events. */
  statusTimeUs: number;
  /** The same unit; null where the caller does not say. */
  createTimeUs: number | null;
  click: string;
  userName: string;
  subscriber: string;
  username: string;
}

/**
 * Refuses, lead by lead, a call that names one chat or one lead twice: which of the two should count? It is asked in the
 * order of the call together with everything else about a lead, so that a refusal names the first bad one.
 */
export function createDistinctCheck(): (lead: LeadInput, index: number) => void {
  const chats = new Set<number>();
  const ids = new Set<number>();
  return ({ id, chatId }, index) => {
    if (chats.has(chatId)) throw invalidLead(index, "chat_id", "the chat appears twice in this call");
    if (id !== 0 && ids.has(id)) throw invalidLead(index, "id", "the id appears twice in this call");
    chats.add(chatId);
    ids.add(id);
  };
}

/**
 * The leads' ids in the order of the request.
 * @param idsByChat what is stored now.
 * @throws DomainError INVALID_ARGUMENT where a chat belongs to another lead than the one named.
 */
export function matchIds(leads: readonly LeadInput[], idsByChat: ReadonlyMap<number, number>): number[] {
  return leads.map(({ id, chatId }, index) => {
    const stored = idsByChat.get(chatId)!;
    if (id !== 0 && id !== stored) throw invalidLead(index, "chat_id", "the chat belongs to another lead");
    return stored;
  });
}

/** A lead keeps its campaign and its chat for as long as it lives. */
export function takenId(index: number): DomainError {
  return invalidLead(index, "id", "the id belongs to another campaign or chat");
}

function invalidLead(index: number, name: string, problem: string): DomainError {
  const field = `leads[${index}].${name}`;
  return new DomainError(ErrorReason.INVALID_ARGUMENT, `${field}: ${problem}`, { field });
}
