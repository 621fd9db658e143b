/**
 * The worker: takes jobs, claims those whose place in the pace comes soon, sends them, settles what came of it.
 *
 * ```
 *   offer ─► lane.queued ─► claim (one transaction for all bots) ─► lane.ready ─► write ─► settle ─► ack
 * ```
 *
 * One claim runs at a time: what falls due meanwhile is claimed together by the next, so batches grow with the load, and
 * the lease rows that a claim holds are free in between. Invariants:
 *
 * 1. A request is written only for a claimed send, once, while the shard's lease is held by its local deadline.
 * 2. Every claimed send is settled, whatever happens: sent, failed, unconfirmed or put back.
 * 3. A job is acked only when its row is settled or it was not claimed.
 */
import type { Sql } from "#services/core/database/client.ts";
import type { ClaimAnswer, ClaimedSend, SendJob } from "#services/core/ledger/claim.ts";
import type { DatabaseClock } from "#services/core/ledger/database-clock.ts";
import { ALL_BOTS, SendReason } from "#services/core/ledger/send.ts";
import { type SendResult, ticketOf } from "#services/core/ledger/settle.ts";
import type { BotRow } from "#services/core/ledger/store.ts";
import type { Clock } from "#services/platform/clock.ts";
import { type Attempt, type AttemptOptions, attemptSend } from "./attempt.ts";
import { FAILURES_TO_OPEN } from "./breaker.ts";
import { Claims } from "./claims.ts";
import { Holds } from "./holds.ts";
import type { Lane, PlacedSend, QueuedJob, ReadySend } from "./lane.ts";
import { Lanes } from "./lanes.ts";
import type { Outcome } from "./outcome.ts";
import type { Place } from "./pacer.ts";
import type { Settler } from "./settler.ts";
import { Unsent } from "./unsent.ts";

export interface WorkerOptions extends Omit<AttemptOptions, "obstacle"> {
  sql: Sql;
  clock: Clock;
  databaseClock?: DatabaseClock;
  /** `holds` says whether the shard is ours now and will be for `forMs`. */
  leases: { fences(): Map<number, number>; holds(shard: number, forMs: number): boolean };
  /** Whether the shard's jobs are taken at present; see shards.ts. */
  isOpen: (shard: number) => boolean;
  /** The timeline of the database that was worked with; see restore.ts. */
  timeline?: () => number | undefined;
  settler: Settler;
  holds: Holds;
  /** How long claims may be silent before they are rescued. */
  rescueMs: { text: number; media: number };
  /** Acked without being sent, a few hundred at once: the relay may publish these again. */
  onUnsent: (jobs: SendJob[]) => void;
  /** Messages in any second of a bot; default: what the bot is set to. */
  limitOf?: (bot: BotRow) => number;
  guardMs?: number;
  chatIntervalMs?: number;
  /** Claimed sends that are ready or on the wire at once, over all bots: each holds a connection. Default 4,096. */
  maxRequests?: number;
  onOutcome?: (outcome: Outcome["outcome"]) => void;
}

/** Jobs in one claim at most: a transaction of some 10 ms. */
const MAX_CLAIM = 500;
/** Between the starts of two claims, so that a few bots' jobs are claimed together. */
const CLAIM_INTERVAL_MS = 8;
const CLAIM_RETRY_MS = 250;
/** 800 bots at 30 a second and 150 ms; far below what a process may have open. */
const MAX_REQUESTS = 4_096;
/**
 * A gate is shut for the few milliseconds of a Pause or an edit, and for seconds by the Start of a million leads. A job
 * that has waited here for a second goes back to the relay: a forged one, of a block that is gone, waits for ever.
 */
const GATE_RETRY_MS = 20;
const MAX_GATE_TRIES = 50;
const TOKEN_SEALED_MESSAGE = "The bot's token cannot be opened: its key is not among SECRET_KEYS.";
/** Until the claim has read the bot's own limit. */
const FIRST_LIMIT = 30;
/** A hold that ends when somebody lifts it. The claim answers "wait" until then, so this only saves asking. */
const UNTIL_TOLD_MS = 1_000;
/** A pause that is over before its row would be seen is not written again. */
const PAUSE_TO_SHOW_MS = 500;
/**
 * Nothing is written in the last second of a lease. So when the next owner comes, our last second is over, and its window
 * and ours never add up.
 */
const LEASE_RESERVE_MS = 1_000;
const DRAIN_POLL_MS = 5;

export class Worker {
  readonly #options: WorkerOptions;
  readonly #attempt: AttemptOptions;
  readonly #tryAttempt: AttemptOptions;
  readonly #unsent: Unsent;
  readonly #claims: Claims;
  readonly #lanes: Lanes;
  readonly #timers = new Map<Lane, ReturnType<typeof setTimeout>>();
  readonly #stopping = new AbortController();
  #wake = Promise.withResolvers<void>();
  #claimLoop: Promise<void> | undefined;
  #inFlight = 0;
  /** Claimed sends that are ready or on the wire. */
  #open = 0;
  #queued = 0;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#attempt = { ...options, obstacle: (lane) => this.#obstacle(lane) };
    this.#tryAttempt = { ...options, obstacle: (lane) => this.#obstacleToTry(lane) };
    this.#unsent = new Unsent(options.onUnsent, options.onError);
    this.#claims = new Claims({ ...options, unsent: this.#unsent, stopping: this.#stopping.signal });
    this.#lanes = new Lanes({ ...options, limit: FIRST_LIMIT });
  }

  /** Jobs that wait in memory; intake stops pulling above a bound. */
  get queuedCount(): number {
    return this.#queued;
  }

  /** Requests on the wire. */
  get inFlightCount(): number {
    return this.#inFlight;
  }

  start(): void {
    this.#claimLoop ??= this.#runClaims();
  }

  /** Takes one job. What cannot be kept is acked unsent. */
  offer(job: SendJob, ack: () => void): void {
    const lane = this.#laneOf(job.botId);
    const now = this.#options.clock.monotonicMs();
    if (this.#isClosed(lane) || lane.holdAt(now) !== undefined) this.#unsent.add([{ job, ack }]);
    else this.#enqueue(lane, { job, ack });
  }

  #isClosed({ shard }: Lane): boolean {
    return this.#stopping.signal.aborted || !this.#options.isOpen(shard) || !this.#options.leases.holds(shard, 0);
  }

  #enqueue(lane: Lane, item: QueuedJob): void {
    if (lane.enqueue(item)) {
      this.#queued++;
      this.#wake.resolve();
    } else item.ack();
  }

  #laneOf(botId: number): Lane {
    return this.#lanes.use(botId, this.#options.clock.monotonicMs());
  }

  // Claiming

  async #runClaims(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const startedAt = clock.monotonicMs();
      const batch = this.#collect(startedAt);
      if (batch.length > 0) await this.#claim(batch);
      else if (this.#queued === 0) await this.#waitForJobs();
      const restMs = CLAIM_INTERVAL_MS - (clock.monotonicMs() - startedAt);
      if (batch.length < MAX_CLAIM && restMs > 0) await clock.sleep(restMs, signal);
    }
  }

  async #waitForJobs(): Promise<void> {
    this.#wake = Promise.withResolvers();
    if (this.#stopping.signal.aborted) return;
    await this.#wake.promise;
  }

  /** The jobs whose place comes soon, over all lanes. */
  #collect(nowMs: number): QueuedJob[] {
    this.#lanes.forgetIdle(nowMs);
    if (this.#options.settler.blocked || this.#queued === 0) return [];
    const { aheadMs } = this.#claims;
    const room = Math.min(MAX_CLAIM, (this.#options.maxRequests ?? MAX_REQUESTS) - this.#open);
    const batch: QueuedJob[] = [];
    const served: Lane[] = [];
    for (const lane of this.#lanes.values()) {
      if (batch.length >= room) break;
      const wanted = Math.min(lane.wants(nowMs, aheadMs), room - batch.length);
      if (wanted <= 0 || !this.#options.leases.holds(lane.shard, LEASE_RESERVE_MS)) continue;
      batch.push(...this.#takeForClaim(lane, wanted));
      served.push(lane);
    }
    // One claim does not hold everybody's.
    if (batch.length >= room) this.#lanes.serveLast(served);
    return batch;
  }

  #takeForClaim(lane: Lane, count: number): QueuedJob[] {
    const taken = lane.take(count);
    lane.claiming += taken.length;
    this.#queued -= taken.length;
    return taken;
  }

  async #claim(batch: QueuedJob[]): Promise<void> {
    const answers = await this.#claims.ask(batch);
    for (const { job } of batch) this.#laneOf(job.botId).claiming--;
    for (const [i, answer] of answers?.entries() ?? []) this.#apply(batch[i]!, answer);
    if (!answers) await this.#options.clock.sleep(CLAIM_RETRY_MS);
  }

  #apply(item: QueuedJob, answer: ClaimAnswer): void {
    const lane = this.#laneOf(item.job.botId);
    if (answer.outcome === "claimed") this.#admit(lane, { send: answer.send, ack: item.ack });
    else if (answer.outcome !== "wait") item.ack();
    else if (answer.reason === "gate" && this.#mayLineUpAgain(lane, item)) this.#lineUpAgain(lane, item);
    else {
      if (answer.reason === "bot") this.#hold(lane, UNTIL_TOLD_MS, SendReason.botRefused);
      this.#unsent.add([item]);
    }
  }

  #admit(lane: Lane, item: ReadySend): void {
    const { clock, limitOf } = this.#options;
    const { bot } = item.send;
    lane.pacer.setLimit(limitOf ? limitOf(bot) : bot.messagesPerSecond);
    const now = clock.monotonicMs();
    // The lane may have been held, or its shard lost, while the claim was made.
    const obstacle = this.#obstacle(lane);
    const retryAfterMs = obstacle === undefined ? lane.admit(item, now) : undefined;
    if (obstacle !== undefined) this.#settle(item, { result: "putBack", reason: obstacle });
    else if (retryAfterMs === undefined) this.#writeSoon(lane);
    else this.#settle(item, { result: "putBack", reason: SendReason.rateLimited, retryAfterMs });
  }

  #mayLineUpAgain(lane: Lane, { gateTries = 0 }: QueuedJob): boolean {
    return gateTries < MAX_GATE_TRIES && !this.#isClosed(lane);
  }

  /**
   * Somebody is deciding about its source at this moment. Sent back to the relay it would be published and claimed in
   * circles until that is over; here it goes behind the others and is asked about again in a moment.
   */
  #lineUpAgain(lane: Lane, item: QueuedJob): void {
    lane.claimAfter(this.#options.clock.monotonicMs() + GATE_RETRY_MS);
    this.#enqueue(lane, { ...item, gateTries: (item.gateTries ?? 0) + 1 });
  }

  #writeSoon(lane: Lane): void {
    this.#open++;
    this.#write(lane);
  }

  // Writing

  /** Why nothing of this lane may be written at this moment. */
  #obstacle(lane: Lane): SendReason | undefined {
    return this.#obstacleOfOurs(lane) ?? lane.holdAt(this.#options.clock.monotonicMs());
  }

  #obstacleToTry(lane: Lane): SendReason | undefined {
    const limited = this.#options.clock.monotonicMs() < lane.rateLimitedUntilMs;
    return this.#obstacleOfOurs(lane) ?? (limited ? SendReason.rateLimited : undefined);
  }

  #obstacleOfOurs({ shard }: Lane): SendReason | undefined {
    const { leases, isOpen, settler } = this.#options;
    if (!leases.holds(shard, LEASE_RESERVE_MS)) return SendReason.leaseLost;
    return !isOpen(shard) || this.#stopping.signal.aborted || settler.failing ? SendReason.shutdown : undefined;
  }

  /** Writes what may be written now, and comes again when the next one may. */
  #write(lane: Lane): void {
    const { clock } = this.#options;
    const obstacle = this.#obstacle(lane);
    if (obstacle !== undefined) this.#putBackReady(lane, obstacle);
    for (let item = lane.takeReady(clock.monotonicMs()); item; item = lane.takeReady(clock.monotonicMs())) {
      void this.#deliver(lane, item);
    }
    clearTimeout(this.#timers.get(lane));
    this.#timers.delete(lane);
    if (lane.readyCount === 0) return;
    const now = clock.monotonicMs();
    const waitMs = Math.max(0, Math.ceil(lane.nextWriteAt(now) - now));
    this.#timers.set(
      lane,
      setTimeout(() => this.#write(lane), waitMs),
    );
  }

  async #deliver(
    lane: Lane,
    item: Omit<PlacedSend, "place"> & { place: Place | undefined },
    options = this.#attempt,
  ): Promise<Outcome | undefined> {
    lane.inFlight++;
    this.#inFlight++;
    const attempt = await attemptSend(lane, item, options);
    lane.inFlight--;
    this.#inFlight--;
    this.#open--;
    this.#learn(lane, item.send.bot, attempt);
    this.#settle(item, attempt.result);
    // A token that cannot be opened has not been tried, and is no more likely to open with the next lead.
    return attempt.tokenSealed ? { outcome: "refused", reason: SendReason.botRefused } : attempt.outcome;
  }

  /** What comes back may be published again as soon as it is sendable. */
  #settle({ send, ack }: ReadySend, result: SendResult): void {
    this.#options.settler.push({ ticket: ticketOf(send), result }, () => {
      if (result.result === "putBack" || result.result === "bodyFault") this.#unsent.add([{ job: jobOf(send), ack }]);
      else ack();
    });
  }

  /** What one attempt says about the bot, beyond its own send. */
  #learn(lane: Lane, bot: BotRow, { outcome, tokenSealed }: Attempt): void {
    if (tokenSealed) this.#stopForToken(lane, () => this.#options.holds.breaker(bot.botId, TOKEN_SEALED_MESSAGE));
    if (!outcome) return;
    this.#options.onOutcome?.(outcome.outcome);
    if (outcome.outcome === "unknown" || outcome.outcome === "refused") this.#noteFailure(lane);
    else if (outcome.outcome !== "postponed") lane.failuresInRow = 0;
    if (outcome.outcome === "rateLimited") this.#rateLimited(lane, outcome.retryAfterSeconds);
    if (outcome.outcome === "bot") this.#stopForToken(lane, () => this.#options.holds.tokenDead(bot));
  }

  #stopForToken(lane: Lane, writeHold: () => void): void {
    writeHold();
    this.#hold(lane, UNTIL_TOLD_MS, SendReason.botRefused);
  }

  #noteFailure(lane: Lane): void {
    lane.failuresInRow++;
    const now = this.#options.clock.monotonicMs();
    // While a 429 stands nothing is sent anyway, and a probe would be a call inside it.
    if (lane.failuresInRow < FAILURES_TO_OPEN || now < lane.rateLimitedUntilMs) return;
    this.#options.holds.breaker(lane.botId);
    this.#hold(lane, UNTIL_TOLD_MS, SendReason.connectionRefused);
  }

  #rateLimited(lane: Lane, retryAfterSeconds: number): void {
    const forMs = Holds.rateLimitMs(retryAfterSeconds);
    const now = this.#options.clock.monotonicMs();
    this.#lanes.rateLimited(lane, now, now + forMs);
    this.#options.holds.rateLimited(lane.botId, retryAfterSeconds);
    this.#hold(lane, forMs, SendReason.rateLimited);
  }

  /** Stops a lane: what waits is acked unsent, what is claimed and not written is put back. */
  #hold(lane: Lane, forMs: number, reason: SendReason): void {
    const now = this.#options.clock.monotonicMs();
    lane.hold(now, now + forMs, reason);
    this.#putBackLane(lane, reason);
  }

  /** A hold of the bot stands in Postgres: the lane stops at once. Its claims are told from then on. */
  hold(botId: number): void {
    const lane = this.#lanes.find(botId);
    if (lane) this.#hold(lane, UNTIL_TOLD_MS, SendReason.botRefused);
  }

  /** A hold of the bot, or of all, is over: jobs that come are taken again. What is left of a 429's pause still counts. */
  release(botId: number): void {
    if (botId === ALL_BOTS) for (const lane of this.#lanes.values()) lane.release();
    else this.#lanes.find(botId)?.release();
  }

  /**
   * Follows the rows, which are the truth: a lane that none of them holds goes on, and a 429's pause that none of them shows
   * is written again. What began after they were read, or is not written yet, they cannot know.
   */
  follow(held: ReadonlySet<number>, rateLimited: ReadonlySet<number>, readAtMs: number): void {
    const { clock, holds } = this.#options;
    const now = clock.monotonicMs();
    for (const lane of held.has(ALL_BOTS) ? [] : this.#lanes.values()) {
      if (lane.holdAt(now) === undefined || lane.heldAtMs >= readAtMs || holds.isWriting(lane.botId)) continue;
      if (!held.has(lane.botId)) lane.release();
      const leftMs = lane.rateLimitedUntilMs - now;
      if (leftMs > PAUSE_TO_SHOW_MS && !rateLimited.has(lane.botId)) holds.rateLimited(lane.botId, leftMs / 1000);
    }
  }

  /**
   * One message past the holds that end by trying: claimed, written and settled like the others. Resolves when its result is
   * committed, so that whoever tries the next one sees what it has changed.
   * @returns what came of it; undefined if it was not claimed, or nothing was asked.
   */
  async tryJob(job: SendJob): Promise<Outcome | undefined> {
    const lane = this.#laneOf(job.botId);
    const { clock, settler } = this.#options;
    if (this.#isClosed(lane) || settler.blocked || clock.monotonicMs() < lane.rateLimitedUntilMs) return undefined;
    // Counted until it is in flight, so that a drain waits for it.
    lane.claiming++;
    const { promise: settled, resolve: ack } = Promise.withResolvers<void>();
    const [answer] = (await this.#claims.ask([{ job, ack }], { trying: true })) ?? [];
    if (answer?.outcome === "claimed") await this.#untilChatIsFree(lane, answer.send.chatId);
    lane.claiming--;
    if (answer?.outcome !== "claimed") return undefined;
    this.#open++;
    const outcome = await this.#deliver(lane, { send: answer.send, ack, place: undefined }, this.#tryAttempt);
    await settled;
    return outcome;
  }

  async #untilChatIsFree(lane: Lane, chatId: number): Promise<void> {
    const { clock } = this.#options;
    const now = clock.monotonicMs();
    const waitMs = lane.promiseChat(chatId, now) - now;
    if (waitMs > 0) await clock.sleep(waitMs);
  }

  #putBackLane(lane: Lane, reason: SendReason): void {
    const waiting = lane.takeAll();
    this.#queued -= waiting.length;
    this.#unsent.add(waiting);
    this.#putBackReady(lane, reason);
  }

  #putBackReady(lane: Lane, reason: SendReason): void {
    for (const item of lane.takeAllReady()) {
      this.#open--;
      this.#settle(item, { result: "putBack", reason });
    }
  }

  // Stopping

  /** The shards belong to nobody or to another by now: nothing more is written; what is on the wire is settled. */
  lose(shards: number[]): void {
    for (const lane of this.#lanes.ofShards(shards)) this.#putBackLane(lane, SendReason.leaseLost);
  }

  /**
   * Finishes these shards, which are not open any more: nothing new, what is on the wire is answered and settled, holds are written, and a second has
   * passed since the last request. Then the lease may be given up, and the next owner may send at full pace at once.
   */
  async drain(shards: number[]): Promise<void> {
    const { clock, settler, holds } = this.#options;
    do {
      for (const lane of this.#lanes.ofShards(shards)) this.#putBackLane(lane, SendReason.shutdown);
      await clock.sleep(DRAIN_POLL_MS);
    } while (this.#lanes.ofShards(shards).some((lane) => lane.busy));
    await settler.flush();
    await holds.flush();
    this.#unsent.flush();
    const quietAt = Math.max(...this.#lanes.ofShards(shards).map((lane) => lane.pacer.quietAt()));
    const waitMs = quietAt - clock.monotonicMs();
    if (waitMs > 0) await clock.sleep(waitMs);
  }

  /** Claims nothing more and drains every lane, also those whose shard was lost meanwhile. Safe twice. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake.resolve();
    await this.#claimLoop;
    await this.drain([...this.#lanes.shards()]);
  }
}

function jobOf({ kind, botId, sourceId, leadId, entry }: ClaimedSend): SendJob {
  return { kind, botId, sourceId, leadId, entry };
}
