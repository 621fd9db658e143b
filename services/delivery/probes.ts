/**
 * Looks after holds that end by trying: lets messages through breakers and to bots at fault one at a time, asks whether dead
 * tokens are known again, and makes the worker's memory follow the rows.
 *
 * A try is an ordinary message that waits: it is chosen from the ledger, claimed past these two kinds of hold and no other,
 * and settled like every other one. Nothing goes through JetStream, as the relay publishes nothing for bots that are held.
 */
import type { Sql } from "#services/core/database/client.ts";
import type { SendJob } from "#services/core/ledger/claim.ts";
import { type DatabaseClock, databaseClock } from "#services/core/ledger/database-clock.ts";
import { ALL_BOTS, HoldReason } from "#services/core/ledger/send.ts";
import { inTransaction } from "#services/core/ledger/transaction.ts";
import type { Clock } from "#services/platform/clock.ts";
import { ACCEPTED_TO_CLOSE, verdictOf, waitBeforeTryMs } from "./breaker.ts";
import { ASK_TOKEN_MS } from "./holds.ts";
import * as store from "./holds-store.ts";
import type { KnownStreaks } from "./known-streaks.ts";
import { type BotApiReply, type Outcome, outcomeOf } from "./outcome.ts";

export interface ProbesOptions {
  sql: Sql;
  clock: Clock;
  databaseClock?: DatabaseClock;
  openToken: (botId: number, sealed: string) => string;
  getMe: (token: string) => Promise<BotApiReply>;
  /** The shards whose bots are ours to try. */
  shards: () => number[];
  /** Claims and sends one message past the holds that end by trying; undefined if it was not claimed. */
  tryJob: (job: SendJob) => Promise<Outcome | undefined>;
  /** These bots, `ALL_BOTS` among them if all, are held by what was read since that moment. */
  onStanding: (held: ReadonlySet<number>, rateLimited: ReadonlySet<number>, readAtMs: number) => void;
  onLifted: (botId: number) => void;
  streaks?: KnownStreaks;
  onError: (error: unknown) => void;
}

const TICK_MS = 250;
/**
 * A try holds its turn for so long; of a process that died in it the next one takes the turn after that. An upload may take
 * longer: here no second one begins meanwhile, and on another replica only if the shard went there.
 */
const TURN_MS = 20_000;
/** Where nothing can be tried right now, somebody looks again after this. */
const LOOK_AGAIN_MS = 500;
/** Bots that are tried at once, and that are looked through for something to try in one tick. */
const MAX_RUNNING = 200;
/** A bot that has nothing to send is looked at again after this. */
const QUIET_MS = 1_000;

type Next = "goes on" | "waits" | "is over";

/** Holds that a message is tried through. */
const BY_TRYING: readonly HoldReason[] = [HoldReason.breaker, HoldReason.botFault];

export class Probes {
  readonly #options: ProbesOptions;
  readonly #running = new Set<number>();
  /** Until when bots that had nothing to send are passed over. */
  readonly #quietUntilMs = new Map<number, number>();

  constructor(options: ProbesOptions) {
    this.#options = options;
  }

  /** Tries and questions under way. */
  get running(): number {
    return this.#running.size;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.tick().catch(this.#options.onError);
      await this.#options.clock.sleep(TICK_MS, signal);
    }
  }

  /** Begins whatever is due; a Bot API that hangs for one bot keeps no other waiting. */
  async tick(): Promise<void> {
    const { sql, shards, clock, onStanding, streaks } = this.#options;
    const ours = shards();
    if (ours.length === 0) return;
    const readAtMs = clock.monotonicMs();
    const [holds, bots] = await Promise.all([
      store.selectStanding(sql, ours, this.#offsetMs()),
      store.selectStreakBots(sql, ours),
    ]);
    streaks?.refresh(bots);
    const limited = holds.filter(({ reason }) => reason === HoldReason.rateLimited);
    onStanding(botsOf(holds), botsOf(limited), readAtMs);
    await this.#beginTries(
      Map.groupBy(holds, (hold) => hold.botId),
      ours,
    );
  }

  #offsetMs(): number {
    return (this.#options.databaseClock ?? databaseClock).offsetMs();
  }

  async #beginTries(byBot: Map<number, store.StandingHold[]>, shards: number[]): Promise<void> {
    const ofAll = byBot.get(ALL_BOTS) ?? [];
    byBot.delete(ALL_BOTS);
    this.#begin([...byBot.values()].flat().filter(({ reason, due }) => reason === HoldReason.tokenDead && due));
    if (ofAll.some(({ reason }) => !BY_TRYING.includes(reason))) return;
    const [address] = ofAll;
    if (address) return address.due ? this.#tryForAll(address, byBot, shards) : undefined;
    const due = [...byBot.values()].filter((holds) => holds.every(isByTrying) && holds.some((hold) => hold.due));
    await this.#tryBots(this.#mayTry(due));
  }

  #mayTry(due: store.StandingHold[][]): store.StandingHold[][] {
    const now = this.#options.clock.monotonicMs();
    for (const [botId, untilMs] of this.#quietUntilMs) if (untilMs <= now) this.#quietUntilMs.delete(botId);
    const free = due.filter(([hold]) => !this.#running.has(hold!.botId) && !this.#quietUntilMs.has(hold!.botId));
    return free.slice(0, Math.max(0, MAX_RUNNING - this.#running.size));
  }

  async #tryBots(bots: store.StandingHold[][]): Promise<void> {
    if (bots.length === 0) return;
    const { sql, clock } = this.#options;
    const wanted = bots.map((holds) => ({ botId: holds[0]!.botId, words: wordsOf(holds) }));
    const jobs = await inTransaction(sql, (tx) => store.selectCandidates(tx, wanted, this.#offsetMs()));
    for (const holds of bots) {
      const { botId } = holds[0]!;
      const candidates = jobs.get(botId);
      if (candidates) this.#start(botId, () => this.#tryBot(holds, candidates));
      else this.#quietUntilMs.set(botId, clock.monotonicMs() + QUIET_MS);
    }
    await store.deleteIdleBreakers(sql);
  }

  #begin(dead: store.StandingHold[]): void {
    for (const hold of dead) {
      if (!this.#running.has(hold.botId)) this.#start(hold.botId, () => this.#askToken(hold));
    }
  }

  #start(botId: number, work: () => Promise<void>): void {
    this.#running.add(botId);
    void work()
      .catch(this.#options.onError)
      .finally(() => this.#running.delete(botId));
  }

  // Messages

  /**
   * Whichever replica takes the turn tries with a bot of its own; one that has none passes it on. What the try says counts for
   * that bot's own breaker, too.
   */
  async #tryForAll(
    address: store.StandingHold,
    byBot: ReadonlyMap<number, store.StandingHold[]>,
    shards: number[],
  ): Promise<void> {
    const { sql } = this.#options;
    if (this.#running.has(ALL_BOTS) || !(await store.takeTurn(sql, address, TURN_MS))) return;
    const offsetMs = this.#offsetMs();
    const botId = await inTransaction(sql, (tx) => store.selectWaitingBot(tx, shards, offsetMs));
    if (botId === undefined) return store.updateNextTry(sql, address, LOOK_AGAIN_MS);
    this.#start(ALL_BOTS, () => this.#tryUntilTold(botId, [address, ...(byBot.get(botId) ?? [])]));
  }

  async #tryBot(holds: store.StandingHold[], candidates: SendJob[]): Promise<void> {
    const taken = await Promise.all(holds.map((hold) => store.takeTurn(this.#options.sql, hold, TURN_MS)));
    // Each hold has a time of its own: the later one decides for both.
    if (!taken.every(Boolean)) return this.#giveBack(holds.filter((_, i) => taken[i]));
    await this.#tryUntilTold(holds[0]!.botId, holds, candidates);
  }

  /** One message, and while they are accepted through a breaker the next, until it has closed. */
  async #tryUntilTold(botId: number, holds: store.StandingHold[], candidates?: SendJob[]): Promise<void> {
    let next = candidates ?? (await this.#candidatesOf(botId, holds));
    for (let left = holds; ; ) {
      const outcome = await this.#tryFirst(next);
      if (!outcome) return this.#giveBack(left);
      left = await this.#learn(left, outcome);
      if (left.length === 0) return;
      next = await this.#candidatesOf(botId, left);
    }
  }

  async #candidatesOf(botId: number, holds: store.StandingHold[]): Promise<SendJob[]> {
    const { sql } = this.#options;
    const wanted = [{ botId, words: wordsOf(holds) }];
    const jobs = await inTransaction(sql, (tx) => store.selectCandidates(tx, wanted, this.#offsetMs()));
    return jobs.get(botId) ?? [];
  }

  /** The first that its claim lets through. */
  async #tryFirst(candidates: readonly SendJob[]): Promise<Outcome | undefined> {
    for (const job of candidates) {
      const outcome = await this.#options.tryJob(job);
      if (outcome) return outcome;
    }
    return undefined;
  }

  async #giveBack(holds: store.StandingHold[]): Promise<void> {
    for (const hold of holds) await store.updateNextTry(this.#options.sql, hold, LOOK_AGAIN_MS);
  }

  /** @returns the holds through which the next message may be tried at once. */
  async #learn(holds: store.StandingHold[], outcome: Outcome): Promise<store.StandingHold[]> {
    const open: store.StandingHold[] = [];
    let waits = false;
    for (const hold of holds) {
      const isBreaker = hold.reason === HoldReason.breaker;
      const next = isBreaker ? await this.#learnBreaker(hold, outcome) : await this.#learnFault(hold, outcome);
      if (next === "goes on") open.push(hold);
      waits ||= next === "waits";
    }
    if (!waits) return open;
    // One that waits for its time keeps the other waiting.
    await this.#giveBack(open);
    return [];
  }

  async #learnBreaker(hold: store.StandingHold, outcome: Outcome): Promise<Next> {
    const { sql, onLifted } = this.#options;
    const verdict = verdictOf(outcome);
    if (verdict === "failed") {
      await store.updateInVain(sql, hold, waitBeforeTryMs(hold.probes + 1));
      return "waits";
    }
    if (verdict !== "accepted") {
      await store.updateNextTry(sql, hold, verdict === "readable" ? 0 : waitBeforeTryMs(0));
      return verdict === "readable" ? "goes on" : "waits";
    }
    hold.probes = 0;
    if (!(await store.updateAccepted(sql, hold.botId, ACCEPTED_TO_CLOSE))) return "goes on";
    onLifted(hold.botId);
    return "is over";
  }

  /** An accepted message ends the hold in its own settle. */
  async #learnFault(hold: store.StandingHold, outcome: Outcome): Promise<Next> {
    const { sql } = this.#options;
    if (outcome.outcome === "sent") return "is over";
    const same = "suspicion" in outcome && outcome.suspicion?.key === hold.words;
    if (same) await store.updateInVain(sql, hold, waitBeforeTryMs(hold.probes + 1));
    else await store.updateNextTry(sql, hold, waitBeforeTryMs(hold.probes));
    return "waits";
  }

  // Tokens

  async #askToken(hold: store.StandingHold): Promise<void> {
    const { sql, getMe, openToken, onLifted } = this.#options;
    if (!(await store.takeTurn(sql, hold, ASK_TOKEN_MS))) return;
    const [bot] = await store.selectTokens(sql, [hold.botId]);
    if (!bot) return store.deleteHold(sql, hold);
    const { outcome } = outcomeOf(await getMe(openToken(bot.botId, bot.tokenSealed)));
    if (outcome !== "sent") return;
    await store.deleteHold(sql, hold);
    onLifted(hold.botId);
  }
}

function isByTrying({ reason }: store.StandingHold): boolean {
  return BY_TRYING.includes(reason);
}

/** The words that a lead must not have met yet, if any. */
function wordsOf(holds: readonly store.StandingHold[]): string {
  return holds.find(({ reason }) => reason === HoldReason.botFault)?.words ?? "";
}

function botsOf(holds: readonly store.StandingHold[]): Set<number> {
  return new Set(holds.map(({ botId }) => botId));
}
