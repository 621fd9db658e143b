/**
 * Whose fault it is when one lead after another is refused in the same words: the bot's. Telegram may have frozen it, logged
 * it out, or never have been told of these chats; then every lead would become `failed` within seconds.
 *
 * A **streak** is what one bot was refused in the same normalised words, over all its broadcasts and follow-ups, with no
 * accepted send between. It stands in `bot_refusal`, so that it outlives the process that met it.
 *
 * ```
 *   fresh ──── number of different chats reached: held ────► tried ──── refused again, the bot not held ───► again
 *     └── accepted send: gone                                 ▲                                              │ └─ accepted: gone
 *                                                             └──── number reached by fresh ones: held ──────┘
 * ```
 *
 * At the number, in the transaction that settles the last of them: the bot is held with the words, and the streak's leads
 * go from `failed` back to `queued` where their run is open. What is refused in the same words while the bot is held goes
 * back as well. Any accepted send of the bot ends its streaks and its hold.
 *
 * Invariants:
 * 1. A lead that was taken back once never counts towards the number in these words again: each hold takes as many leads as
 *    the number that had not been taken back, so a body that is refused for ever is not tried for ever.
 * 2. Settles of one bot that touch its streaks hold the bot's row, before they lock anything else.
 * 3. A broadcast whose body nobody has had does not count words that may be the body's (settle.ts), nor does a run that
 *    its owner resumed with the words in view (`excused`).
 */
import type { TransactionSql } from "#services/core/database/client.ts";
import { keyOf } from "./claim.ts";
import type { CounterDeltas } from "./counters.ts";
import * as store from "./fault-streak-store.ts";
import { withdrawRefusals } from "./reachability.ts";
import { SendReason, SendState } from "./send.ts";
import type { Settlement } from "./settle.ts";
import type { SettledRow } from "./store.ts";

/** Words that may be the bot's fault. */
export interface Suspicion {
  /** Normalised status and words: what refusals of the same kind have in common. */
  key: string;
  /** For people. */
  words: string;
  /** Different chats until it is the bot's fault. */
  limit: number;
}

/** Bots whose hold a settle has changed, by bot. */
export type StreakChange = ReadonlyMap<number, "held" | "lifted">;

/** Until the first message is tried on a bot that is held. */
const FIRST_PROBE_MS = 1_000;

export function suspicionOf({ result }: Settlement): Suspicion | undefined {
  return result.result === "failed" || result.result === "bodyFault" ? result.suspicion : undefined;
}

/** What one bot met, in the order in which the answers came. */
type StreakEvent = { accepted: true } | { accepted: false; settlement: Settlement; suspicion: Suspicion };

/** The streaks of the bots in one settle. */
export class Streaks {
  /** Sources of leads that may be taken back, beyond those of the settlements themselves. */
  readonly sourceIds: readonly number[];
  /** What a bot was held for when each of its answers came, as far as that was before this settle. */
  readonly #heldWhen: ReadonlyMap<Settlement, string>;
  /** Words by bot, as this settle has left them so far. */
  readonly #heldNow: Map<number, string>;
  readonly change = new Map<number, "held" | "lifted">();
  readonly #reachable: store.Chat[] = [];

  private constructor(sourceIds: number[], heldWords: Map<number, string>, settlements: readonly Settlement[]) {
    this.sourceIds = sourceIds;
    this.#heldWhen = heldWhen(heldWords, settlements);
    this.#heldNow = new Map(heldWords);
  }

  /**
   * Holds the bots whose streaks these settlements may change; undefined where they change none.
   * @param known bots that may have a streak or be held for one; undefined for "any may".
   */
  static async open(
    tx: TransactionSql,
    settlements: readonly Settlement[],
    known: Pick<Set<number>, "has"> | undefined,
  ): Promise<Streaks | undefined> {
    const bots = new Set<number>();
    for (const settlement of settlements) {
      const { botId } = settlement.ticket;
      const ends = settlement.result.result === "sent" && (known === undefined || known.has(botId));
      if (ends || suspicionOf(settlement)) bots.add(botId);
    }
    if (bots.size === 0) return undefined;
    const botIds = [...bots].sort((a, b) => a - b);
    await store.lockBots(tx, botIds);
    const [sourceIds, held] = await Promise.all([store.selectSources(tx, botIds), store.selectHeldWords(tx, botIds)]);
    return new Streaks(sourceIds, held, settlements);
  }

  /** Whether the bot was held for exactly this when the answer came: then it is not the lead's fault. */
  isHeldFor(settlement: Settlement, suspicion: Suspicion): boolean {
    return this.#heldWhen.get(settlement) === suspicion.key;
  }

  /**
   * Carries the streaks on by what was settled, and takes leads back where one is complete.
   * @param openRuns by source; of a source that is not there nothing is taken back, but for follow-ups.
   */
  async settle(
    tx: TransactionSql,
    settlements: readonly Settlement[],
    settled: readonly SettledRow[],
    { openRuns, deltas, isExcused }: SettledStreaks,
  ): Promise<void> {
    const rows = new Map(settled.map((row) => [keyOf(row), row]));
    const events = new Map<number, StreakEvent[]>();
    for (const settlement of settlements) {
      const row = rows.get(keyOf(settlement.ticket));
      const event = row && this.#eventOf(settlement, row, isExcused);
      if (event) events.set(settlement.ticket.botId, [...(events.get(settlement.ticket.botId) ?? []), event]);
    }
    for (const [botId, ofBot] of events) await this.#settleBot(tx, botId, ofBot, openRuns, deltas);
  }

  #eventOf(settlement: Settlement, row: SettledRow, isExcused: SettledStreaks["isExcused"]): StreakEvent | undefined {
    if (settlement.result.result === "sent") return { accepted: true };
    const suspicion = suspicionOf(settlement);
    if (!suspicion || isExcused(settlement, suspicion)) return undefined;
    const counts = row.state === SendState.failed || this.isHeldFor(settlement, suspicion);
    return counts ? { accepted: false, settlement, suspicion } : undefined;
  }

  async #settleBot(
    tx: TransactionSql,
    botId: number,
    events: StreakEvent[],
    openRuns: ReadonlyMap<number, number>,
    deltas: CounterDeltas,
  ): Promise<void> {
    for (const run of runsOf(events)) {
      const refused = run.flatMap((event) => (event.accepted ? [] : [event]));
      if (refused.length === 0) await this.#end(tx, botId);
      else await this.#addRefusals(tx, botId, refused, { openRuns, deltas });
    }
  }

  async #addRefusals(
    tx: TransactionSql,
    botId: number,
    refused: { settlement: Settlement; suspicion: Suspicion }[],
    { openRuns, deltas }: { openRuns: ReadonlyMap<number, number>; deltas: CounterDeltas },
  ): Promise<void> {
    // Two results of one row may be written together, though only one of them has counted.
    const tickets = [...new Map(refused.map(({ settlement: { ticket } }) => [keyOf(ticket), ticket])).values()];
    const { key, words, limit } = refused.at(-1)!.suspicion;
    const streak = { botId, key };
    await store.insertRefusals(tx, streak, tickets);
    const isHeld = this.#heldNow.get(botId) === key;
    if (!isHeld && (await store.countFreshChats(tx, streak)) < limit) return;
    const back = await store.updateToTakenBack(tx, streak, openRuns);
    for (const { sourceId } of back) deltas.move("takeBack", { sourceId, botId }, SendState.failed, SendState.queued);
    this.#reachable.push(...(await store.updateToTried(tx, streak)));
    if (isHeld) return;
    await store.holdForFault(tx, streak, { words, firstProbeMs: FIRST_PROBE_MS });
    this.#heldNow.set(botId, key);
    this.change.set(botId, "held");
  }

  async #end(tx: TransactionSql, botId: number): Promise<void> {
    await store.deleteStreaks(tx, botId);
    this.#heldNow.delete(botId);
    if (await store.deleteFaultHold(tx, botId)) this.change.set(botId, "lifted");
  }

  /** The chats of leads that were taken back are in audiences again. Last of all locks. */
  async restoreChats(tx: TransactionSql): Promise<void> {
    if (this.#reachable.length > 0) await withdrawRefusals(tx, this.#reachable, SendReason.chatNotFound);
  }
}

export interface SettledStreaks {
  openRuns: ReadonlyMap<number, number>;
  deltas: CounterDeltas;
  isExcused: (settlement: Settlement, suspicion: Suspicion) => boolean;
}

/** An accepted send ends its bot's hold for the answers behind it, also within one settle. */
function heldWhen(heldWords: ReadonlyMap<number, string>, settlements: readonly Settlement[]): Map<Settlement, string> {
  const held = new Map(heldWords);
  const when = new Map<Settlement, string>();
  for (const settlement of settlements) {
    const { botId } = settlement.ticket;
    if (settlement.result.result === "sent") held.delete(botId);
    const words = held.get(botId);
    if (words !== undefined) when.set(settlement, words);
  }
  return when;
}

/** Events of one kind that came behind each other: accepted, or refused in the same words. */
function runsOf(events: StreakEvent[]): StreakEvent[][] {
  const runs: StreakEvent[][] = [];
  let last: string | undefined;
  for (const event of events) {
    const kind = event.accepted ? "" : event.suspicion.key;
    if (kind === last) runs.at(-1)!.push(event);
    else runs.push([event]);
    last = kind;
  }
  return runs;
}
