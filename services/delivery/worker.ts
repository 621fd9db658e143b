/**
 * The worker: takes jobs, claims those whose place in the pace has come, sends them, settles what came of it.
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
import type { Sql } from "#services/database/client.ts";
import { type ClaimAnswer, claimSends, keyOf, randomToken, type SendJob } from "#services/ledger/claim.ts";
import type { DatabaseClock } from "#services/ledger/database-clock.ts";
import { HoldReason, SendReason, shardOf } from "#services/ledger/send.ts";
import { type SendResult, ticketOf, UNKNOWN_ACCOUNT } from "#services/ledger/settle.ts";
import type { BotRow } from "#services/ledger/store.ts";
import type { Clock } from "#services/platform/clock.ts";
import { killPoint } from "#services/platform/kill-points.ts";
import { LeaseRole } from "#services/queue/leases.ts";
import { Holds } from "./holds.ts";
import { Lane, type QueuedJob, type ReadySend } from "./lane.ts";
import { composeMessage, type OutgoingMessage } from "./message.ts";
import { type Outcome, outcomeOf } from "./outcome.ts";
import type { Settler } from "./settler.ts";
import type { BotApi } from "./telegram.ts";

export interface WorkerOptions {
  sql: Sql;
  clock: Clock;
  databaseClock?: DatabaseClock;
  leases: { fences(): Map<number, number>; holds(shard: number): boolean };
  api: BotApi;
  settler: Settler;
  holds: Holds;
  openToken: (botId: number, sealed: string) => string;
  /** How long claims may be silent before they are rescued. */
  rescueMs: { text: number; media: number };
  /** Acked without being sent: the relay may publish these again. */
  onUnsent: (jobs: SendJob[]) => void;
  onError: (error: unknown) => void;
  /** Sends with media; see attachments.ts. */
  attach?: (send: ReadySend["send"], deliver: Deliver) => Promise<Outcome>;
  /** Messages in any second of a bot; default: what the bot is set to. */
  limitOf?: (bot: BotRow) => number;
  guardMs?: number;
  chatIntervalMs?: number;
  onOutcome?: (outcome: Outcome["outcome"]) => void;
}

/** Makes one request with or without an attachment. */
export type Deliver = (attachment?: Parameters<BotApi["send"]>[2]) => Promise<Outcome>;

/** Jobs in one claim at most: a transaction of some 10 ms. */
const MAX_CLAIM = 500;
/** Between the starts of two claims, so that a few bots' jobs are claimed together. */
const CLAIM_INTERVAL_MS = 8;
const IDLE_MS = 50;
const CLAIM_RETRY_MS = 250;
/** Lost or refused in a row until a bot's breaker opens. */
const BREAKER_LIMIT = 3;
/** A lane that nothing was in for this long is forgotten, with its pace: its window is long over. */
const LANE_IDLE_MS = 60_000;
/** Until the claim has read the bot's own limit. */
const FIRST_LIMIT = 30;

export class Worker {
  readonly #options: WorkerOptions;
  readonly #lanes = new Map<number, Lane>();
  readonly #lastUsedMs = new Map<number, number>();
  readonly #drainingShards = new Set<number>();
  readonly #stopping = new AbortController();
  #wake = Promise.withResolvers<void>();
  #claimLoop: Promise<void> | undefined;
  #writeTimer: ReturnType<typeof setTimeout> | undefined;
  #writeAtMs = Number.POSITIVE_INFINITY;
  #inFlight = 0;
  #queued = 0;

  constructor(options: WorkerOptions) {
    this.#options = options;
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
    const shard = shardOf(job.botId);
    const lane = this.#laneOf(job.botId);
    const closed = this.#stopping.signal.aborted || this.#drainingShards.has(shard);
    if (closed || this.#options.clock.monotonicMs() < lane.heldUntilMs) {
      this.#unsent([{ job, ack }]);
    } else if (lane.enqueue({ job, ack }, keyOf(job))) {
      this.#queued++;
      this.#wake.resolve();
    } else {
      ack();
    }
  }

  #laneOf(botId: number): Lane {
    const { clock, guardMs, chatIntervalMs, limitOf } = this.#options;
    this.#lastUsedMs.set(botId, clock.monotonicMs());
    const known = this.#lanes.get(botId);
    if (known) return known;
    const lane = new Lane(botId, {
      limit: limitOf ? limitOf(unknownBot(botId)) : FIRST_LIMIT,
      guardMs,
      chatIntervalMs,
    });
    this.#lanes.set(botId, lane);
    return lane;
  }

  // Claiming

  async #runClaims(): Promise<void> {
    const { clock } = this.#options;
    while (!this.#stopping.signal.aborted) {
      const startedAt = clock.monotonicMs();
      const batch = this.#collect(startedAt);
      if (batch.length === 0) await this.#waitForWork(startedAt);
      else await this.#claim(batch);
      const restMs = CLAIM_INTERVAL_MS - (clock.monotonicMs() - startedAt);
      if (batch.length > 0 && batch.length < MAX_CLAIM && restMs > 0) await clock.sleep(restMs);
    }
  }

  async #waitForWork(nowMs: number): Promise<void> {
    const busy = this.#queued > 0;
    if (!busy) {
      this.#wake = Promise.withResolvers();
      this.#forgetIdleLanes(nowMs);
    }
    const waitMs = busy ? CLAIM_INTERVAL_MS : IDLE_MS;
    await Promise.race([this.#wake.promise, this.#options.clock.sleep(waitMs, this.#stopping.signal)]);
    if (busy) await this.#options.clock.sleep(CLAIM_INTERVAL_MS / 2);
  }

  /** The jobs whose place has come, over all lanes; those that were served last time come last. */
  #collect(nowMs: number): QueuedJob[] {
    if (this.#options.settler.blocked || this.#queued === 0) return [];
    const batch: QueuedJob[] = [];
    for (const [botId, lane] of this.#lanes) {
      const wanted = Math.min(lane.wants(nowMs), MAX_CLAIM - batch.length);
      if (wanted <= 0 || this.#drainingShards.has(lane.shard)) continue;
      const taken = lane.take(wanted, keyOf);
      lane.claiming += taken.length;
      this.#queued -= taken.length;
      batch.push(...taken);
      this.#lanes.delete(botId);
      this.#lanes.set(botId, lane);
      if (batch.length >= MAX_CLAIM) break;
    }
    return batch;
  }

  async #claim(batch: QueuedJob[]): Promise<void> {
    const { sql, databaseClock, leases, rescueMs, onError, clock } = this.#options;
    const token = randomToken();
    try {
      const answers = await claimSends(
        batch.map((item) => item.job),
        { sql, clock: databaseClock, role: LeaseRole.delivery, leases: leases.fences(), rescueMs, token },
      );
      for (const [i, answer] of answers.entries()) this.#apply(batch[i]!, answer);
    } catch (error) {
      onError(error);
      for (const item of batch) this.#disown(item, token);
      await clock.sleep(CLAIM_RETRY_MS);
    }
    this.#scheduleWrites();
  }

  /**
   * A claim that failed may still have been committed. Nothing of it was sent, so whatever stands under its token is put
   * back; where nothing does, this settles nothing.
   */
  #disown({ job, ack }: QueuedJob, token: number): void {
    this.#laneOf(job.botId).claiming--;
    const ticket = { ...job, token, chatId: 0, accountId: UNKNOWN_ACCOUNT, revision: 0 };
    this.#options.settler.push({ ticket, result: { result: "putBack", reason: SendReason.leaseLost } }, () =>
      this.#unsent([{ job, ack }]),
    );
  }

  #apply(item: QueuedJob, answer: ClaimAnswer): void {
    const lane = this.#laneOf(item.job.botId);
    lane.claiming--;
    if (answer.outcome === "claimed") {
      lane.adopt(answer.send.bot, this.#options.limitOf ?? ((bot) => bot.messagesPerSecond));
      lane.ready.push({ send: answer.send, ack: item.ack });
    } else if (answer.outcome === "wait") {
      if (answer.reason === "bot") this.#hold(lane, UNTIL_TOLD_MS);
      this.#unsent([item]);
    } else {
      item.ack();
    }
  }

  // Writing

  /** One timer for all lanes: it fires when the next ready send may be written. */
  #scheduleWrites(): void {
    const now = this.#options.clock.monotonicMs();
    let next = Number.POSITIVE_INFINITY;
    for (const lane of this.#lanes.values()) {
      if (lane.ready.length === 0) continue;
      this.#writeReady(lane, now);
      next = Math.min(next, lane.nextWriteAt(now));
    }
    if (next === Number.POSITIVE_INFINITY || (next >= this.#writeAtMs && this.#writeTimer)) return;
    clearTimeout(this.#writeTimer);
    this.#writeAtMs = next;
    this.#writeTimer = setTimeout(() => this.#onWriteTimer(), Math.max(0, next - now));
  }

  #onWriteTimer(): void {
    this.#writeTimer = undefined;
    this.#writeAtMs = Number.POSITIVE_INFINITY;
    this.#scheduleWrites();
  }

  #writeReady(lane: Lane, nowMs: number): void {
    for (;;) {
      const item = lane.takeReady(nowMs);
      if (!item) return;
      void this.#deliver(lane, item);
    }
  }

  async #deliver(lane: Lane, item: ReadySend): Promise<void> {
    lane.inFlight++;
    this.#inFlight++;
    try {
      const result = await this.#attempt(lane, item.send);
      this.#options.settler.push({ ticket: ticketOf(item.send), result }, item.ack);
    } finally {
      lane.inFlight--;
      this.#inFlight--;
      this.#wake.resolve();
    }
  }

  /** Writes the request, if it may still be written, and says what the reply means for the ledger. */
  async #attempt(lane: Lane, send: ReadySend["send"]): Promise<SendResult> {
    const { leases, clock, onOutcome, onError } = this.#options;
    if (!leases.holds(lane.shard)) return { result: "putBack", reason: SendReason.leaseLost };
    const wire = { written: false };
    try {
      const message = composeMessage(send, clock.now());
      if (!message) return { result: "failed", reason: SendReason.blankText, leaves: false };
      const token = this.#options.openToken(send.botId, send.bot.tokenSealed);
      const outcome = await this.#request(lane, send, message, token, wire);
      onOutcome?.(outcome.outcome);
      this.#learn(lane, send.bot, outcome);
      return resultOf(outcome);
    } catch (error) {
      onError(error);
      return wire.written
        ? { result: "unconfirmed", reason: SendReason.connectionCut }
        : { result: "putBack", reason: SendReason.shutdown, retryAfterMs: FAULT_RETRY_MS };
    }
  }

  async #request(
    lane: Lane,
    send: ReadySend["send"],
    message: OutgoingMessage,
    token: string,
    wire: { written: boolean },
  ): Promise<Outcome> {
    const { api, clock, attach, leases } = this.#options;
    const deliver: Deliver = async (attachment) => {
      // Sends with media may have waited for their file since the last look.
      if (!leases.holds(lane.shard)) return { outcome: "postponed", reason: SendReason.leaseLost };
      const startedAt = clock.monotonicMs();
      wire.written = true;
      killPoint("request.before");
      const outcome = outcomeOf(await api.send(token, message, attachment));
      killPoint("request.after");
      if (outcome.outcome === "sent") lane.noteLatency(clock.monotonicMs() - startedAt);
      return outcome;
    };
    return message.media === "" || !attach ? await deliver() : await attach(send, deliver);
  }

  /** What one outcome says about the bot, beyond its own send. */
  #learn(lane: Lane, bot: BotRow, outcome: Outcome): void {
    const { clock, holds } = this.#options;
    lane.unknownsInRow = outcome.outcome === "unknown" ? lane.unknownsInRow + 1 : 0;
    lane.refusalsInRow = outcome.outcome === "refused" ? lane.refusalsInRow + 1 : 0;
    if (outcome.outcome === "rateLimited") {
      lane.pacer.slowDown(clock.monotonicMs());
      holds.rateLimited(bot, outcome.retryAfterSeconds);
      this.#hold(lane, Holds.rateLimitMs(outcome.retryAfterSeconds));
    } else if (outcome.outcome === "bot") {
      holds.tokenDead(bot);
      this.#hold(lane, UNTIL_TOLD_MS);
    } else if (lane.unknownsInRow === BREAKER_LIMIT || lane.refusalsInRow === BREAKER_LIMIT) {
      holds.breaker(bot);
      this.#hold(lane, UNTIL_TOLD_MS);
    }
  }

  /** Stops a lane: what waits is acked unsent, what is claimed and not written is put back. */
  #hold(lane: Lane, forMs: number): void {
    lane.heldUntilMs = Math.max(lane.heldUntilMs, this.#options.clock.monotonicMs() + forMs);
    this.#putBackLane(lane, SendReason.rateLimited);
  }

  /** The bot's hold is over: jobs that come are taken again. */
  release(botId: number): void {
    const lane = this.#lanes.get(botId);
    if (!lane) return;
    lane.heldUntilMs = 0;
    lane.unknownsInRow = 0;
    lane.refusalsInRow = 0;
  }

  #putBackLane(lane: Lane, reason: SendReason): void {
    const waiting = lane.takeAll();
    this.#queued -= waiting.length;
    this.#unsent(waiting);
    for (const { send, ack } of lane.ready.splice(0)) {
      this.#options.settler.push({ ticket: ticketOf(send), result: { result: "putBack", reason } }, () => {
        ack();
        this.#options.onUnsent([jobOf(send)]);
      });
    }
  }

  #unsent(items: readonly QueuedJob[]): void {
    if (items.length === 0) return;
    for (const { ack } of items) ack();
    this.#options.onUnsent(items.map(({ job }) => job));
  }

  #forgetIdleLanes(nowMs: number): void {
    for (const [botId, lane] of this.#lanes) {
      if (!lane.idle || nowMs - (this.#lastUsedMs.get(botId) ?? 0) < LANE_IDLE_MS || nowMs < lane.heldUntilMs) continue;
      this.#lanes.delete(botId);
      this.#lastUsedMs.delete(botId);
    }
  }

  // Stopping

  /** The shards belong to nobody or to another by now: nothing more is written; what is on the wire is settled. */
  lose(shards: number[]): void {
    for (const lane of this.#lanesOf(shards)) this.#putBackLane(lane, SendReason.leaseLost);
  }

  /** Finishes these shards: nothing new, what is on the wire is answered and settled. Then the lease may be given up. */
  async drain(shards: number[]): Promise<void> {
    for (const shard of shards) this.#drainingShards.add(shard);
    const busy = () =>
      this.#lanesOf(shards).some((lane) => lane.inFlight > 0 || lane.claiming > 0 || lane.ready.length > 0);
    do {
      for (const lane of this.#lanesOf(shards)) this.#putBackLane(lane, SendReason.shutdown);
      if (busy()) await this.#options.clock.sleep(5);
    } while (busy());
    await this.#options.settler.flush();
  }

  /** These shards are ours again, or for the first time. */
  resume(shards: number[]): void {
    for (const shard of shards) this.#drainingShards.delete(shard);
  }

  /** No more claims. Call `drain` for what is left. Safe twice. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake.resolve();
    await this.#claimLoop;
  }

  #lanesOf(shards: number[]): Lane[] {
    const wanted = new Set(shards);
    return [...this.#lanes.values()].filter((lane) => wanted.has(lane.shard));
  }
}

/** A hold that ends when somebody lifts it. The claim answers "wait" until then, so this only saves asking. */
const UNTIL_TOLD_MS = 1_000;

function resultOf(outcome: Outcome): SendResult {
  switch (outcome.outcome) {
    case "sent":
      return { result: "sent", messageId: outcome.messageId };
    case "lead":
      return { result: "failed", reason: outcome.reason, leaves: outcome.leaves };
    case "body":
      return { result: "bodyFault", reason: outcome.reason };
    case "bot":
      return { result: "putBack", reason: SendReason.botRefused };
    case "rateLimited":
      return { result: "putBack", reason: SendReason.rateLimited };
    case "refused":
      return { result: "putBack", reason: SendReason.connectionRefused, retryAfterMs: REFUSED_RETRY_MS };
    case "unknown":
      return { result: "unconfirmed", reason: outcome.reason };
    case "postponed":
      return { result: "putBack", reason: outcome.reason, retryAfterMs: outcome.retryAfterMs };
    default:
      return outcome satisfies never;
  }
}

/** A fault of ours before the request was written (a token that cannot be opened, media that cannot be read). */
const FAULT_RETRY_MS = 5_000;

/** Nobody listens: the same lead is not tried again at once. */
const REFUSED_RETRY_MS = 1_000;

function jobOf(send: ReadySend["send"]): SendJob {
  const { kind, botId, sourceId, leadId, entry } = send;
  return { kind, botId, sourceId, leadId, entry };
}

/** A bot before its first claim, for a `limitOf` that does not look. */
function unknownBot(botId: number): BotRow {
  return {
    botId,
    accountId: 0,
    tokenSealed: "",
    tokenVersion: 0,
    messagesPerSecond: FIRST_LIMIT,
    holdReason: HoldReason.none,
    holdMessage: "",
    holdUntil: null,
  };
}
