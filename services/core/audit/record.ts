/**
 * The audit log: each call that changes something leaves an entry, written in the change's transaction. No handler has to think
 * of it: every transaction that is begun while such a call is served ends with the entry (`recordChanges` wraps the client),
 * filled in from the call (services/platform/rpc/call.ts) and its request (subject.ts). A handler only says what the request
 * does not tell (`noteChange`): the id that was assigned, or that nothing has changed.
 *
 * ```
 *   call ── transaction changes something ──► ok           in one commit
 *        ── changes nothing ────────────────► no entry
 *        ── is rolled back ─────────────────► no entry
 *        ── acts outside of Postgres ───────► begun ──► ok | unknown     (recordOutside)
 *                                                  └──► no entry: it was refused
 * ```
 *
 * Invariants:
 * 1. A transaction that has changed nothing has no transaction id yet, or its handler says so: then there is no entry.
 * 2. An entry is (at, id); its rows differ by slot, and readers add them up. So a call of several transactions is one entry, and each
 *    of its commits has its own row.
 * 3. Entries that are counted (imports) have one (at, id) for a minute, caller and object; a row for each connection to
 *    Postgres, as no connection is in two transactions at once. So importers side by side never wait for each other's row.
 * 4. A change outside of Postgres has its entry first: one that stays `begun` tells that the process died in between.
 */
import { createHash, randomUUID } from "node:crypto";
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";
import { currentCall, type ServedCall } from "#services/platform/rpc/call.ts";
import * as store from "./store.ts";
import { type AuditObject, subjectOf } from "./subject.ts";

/** What a handler adds to what its request tells. */
export interface ChangeNote {
  object?: AuditObject;
  accountId?: number;
  /** How many things have changed in this transaction; 0 leaves no entry. Default 1, if anything was written or locked. */
  changes?: number;
  /** Adds up with the other calls of the minute: for what importers call thousands of times. */
  counted?: boolean;
}

interface CallState {
  note: ChangeNote;
  /** Transactions in it are not the call's change. */
  aside: number;
  /** Of the call's entry, once a row of it is committed. */
  entry: { id: string; at: string; slots: number } | undefined;
  /** Whether anybody has looked for changes. */
  looked: boolean;
}

const states = new WeakMap<ServedCall, CallState>();

function stateOf(call: ServedCall): CallState {
  const known = states.get(call);
  if (known !== undefined) return known;
  const state: CallState = { note: {}, aside: 0, entry: undefined, looked: false };
  states.set(call, state);
  return state;
}

/**
 * Says of the call that is being served what its request does not tell, in the transaction that it is about. A call that turns out
 * to have nothing to change says `changes: 0`, with or without one. Nothing happens outside of a call.
 */
export function noteChange(note: ChangeNote): void {
  const call = currentCall();
  if (call === undefined) return;
  const state = stateOf(call);
  Object.assign(state.note, note);
  if (note.changes === 0) state.looked = true;
}

/** Whether a call that may change something was looked at: if not, a change may have gone without an entry. */
export function wasLookedAt(call: ServedCall): boolean {
  return stateOf(call).looked;
}

/** Transactions in `work` are no change of the call's: what they write means nothing to anybody. */
export async function notAChange<T>(work: () => Promise<T>): Promise<T> {
  const call = currentCall();
  if (call === undefined) return await work();
  const state = stateOf(call);
  state.aside++;
  try {
    return await work();
  } finally {
    state.aside--;
  }
}

type Begin = (...args: unknown[]) => Promise<unknown>;
type Work = (tx: TransactionSql) => unknown;

/** Makes every transaction of this client end with the entry of the call that began it. */
export function recordChanges(sql: Sql): Sql {
  const begin = sql.begin.bind(sql) as unknown as Begin;
  const recording: Begin = async (...args) => {
    const call = currentCall();
    if (call === undefined || !call.changes || stateOf(call).aside > 0) return await begin(...args);
    const work = args.pop() as Work;
    let recorded: { at: string } | undefined;
    const result = await begin(...args, async (tx: TransactionSql) => {
      stateOf(call).note.changes = undefined;
      const inside = await settled(work(tx));
      recorded = await recordIn(tx, call);
      return inside;
    });
    noteCommitted(call, recorded);
    return result;
  };
  sql.begin = recording as unknown as Sql["begin"];
  return sql;
}

/** As the client does it: a list of statements may be what a transaction gives. */
async function settled(result: unknown): Promise<unknown> {
  return Array.isArray(result) ? await Promise.all(result) : await result;
}

async function recordIn(tx: TransactionSql, call: ServedCall): Promise<{ at: string } | undefined> {
  const { note, entry } = stateOf(call);
  if (note.changes === 0) return undefined;
  const fields = fieldsOf(call, note);
  if (note.counted) return void (await store.addToMinute(tx, { ...fields, id: minuteId(fields) }));
  const slot = entry?.slots ?? 0;
  const row = { ...fields, id: entry?.id ?? randomUUID(), slot, calls: slot === 0 ? 1 : 0 };
  const at = await store.insertEntry(tx, row, { at: entry?.at, certain: note.changes !== undefined });
  if (at === undefined) return undefined;
  stateOf(call).entry ??= { id: row.id, at, slots: 0 };
  return { at };
}

/** Only what is committed counts: a transaction that is run again begins anew. */
function noteCommitted(call: ServedCall, recorded: { at: string } | undefined): void {
  const state = stateOf(call);
  state.looked = true;
  if (recorded !== undefined && state.entry !== undefined) state.entry.slots++;
}

function fieldsOf({ rpc, caller, message }: ServedCall, note: ChangeNote): store.EntryFields {
  const subject = subjectOf(message);
  return {
    ...caller,
    accountId: note.accountId ?? subject.accountId,
    call: rpc,
    object: note.object ?? subject.object,
    outcome: "ok",
    changes: note.changes ?? 1,
  };
}

/** The same for all calls that add up: whoever computes it, in whichever process. */
function minuteId({ token, session, accountId, call, object }: store.EntryFields): string {
  const key = JSON.stringify([token, session, accountId ?? 0, call, object?.kind ?? "", object?.id ?? ""]);
  const hex = createHash("sha256").update(key).digest("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join("-");
}

/** Reasons after which nobody can say whether something was done. */
const DOUBTFUL: ReadonlySet<number> = new Set([ErrorReason.UNAVAILABLE, ErrorReason.INTERNAL]);

/**
 * For what a call does outside of Postgres: at Telegram, in NATS, through another service. The entry is there first, and says
 * afterwards how it went; a refusal takes it back.
 */
export async function recordOutside<T>(sql: Sql, work: () => Promise<T>): Promise<T> {
  const call = currentCall();
  if (call === undefined || !call.changes) return await work();
  stateOf(call).looked = true;
  const entry = { ...fieldsOf(call, stateOf(call).note), id: randomUUID(), slot: 0, calls: 1, outcome: "begun" };
  const at = (await store.insertEntry(sql, entry, { at: undefined, certain: true }))!;
  try {
    const result = await work();
    await store.updateOutcome(sql, { at, id: entry.id }, "ok");
    return result;
  } catch (error) {
    if (isRefusal(error)) await store.deleteEntry(sql, { at, id: entry.id });
    else await store.updateOutcome(sql, { at, id: entry.id }, "unknown");
    throw error;
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof DomainError && !DOUBTFUL.has(error.reason);
}
