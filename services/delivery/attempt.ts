/**
 * One claimed send on its way: composed, written if it may be, and what came of it for the ledger.
 *
 * Whatever happens before the request is written puts the send back; from then on only an answer that proves it does.
 *
 * A 401 or 404 may mean that the token is dead, and may mean that something does not know this one method. So getMe is asked
 * before anything is settled: if it is refused too the bot is at fault, and if the bot is well the send was refused in words
 * of no table.
 */
import type { ClaimedSend } from "#services/core/ledger/claim.ts";
import { SendReason } from "#services/core/ledger/send.ts";
import type { SendResult } from "#services/core/ledger/settle.ts";
import type { Clock } from "#services/platform/clock.ts";
import { killPoint } from "#services/platform/kill-points.ts";
import type { Lane } from "./lane.ts";
import { composeMessage, type OutgoingMessage } from "./message.ts";
import { type Outcome, outcomeOf } from "./outcome.ts";
import type { Place } from "./pacer.ts";
import type { Attachment, BotApi } from "./telegram.ts";
import type { TokenChecks } from "./token-checks.ts";

/** Makes one request with or without an attachment. */
export type Deliver = (attachment?: Attachment) => Promise<Outcome>;

export interface AttemptOptions {
  api: Pick<BotApi, "send">;
  clock: Clock;
  openToken: (botId: number, sealed: string) => string;
  tokenChecks: TokenChecks;
  /** Sends with media; see attachments.ts. */
  attach?: (send: ClaimedSend, deliver: Deliver) => Promise<Outcome>;
  /** Why nothing of this lane may be written at this moment; undefined if it may. */
  obstacle: (lane: Lane) => SendReason | undefined;
  onError: (error: unknown) => void;
}

export interface Attempt {
  result: SendResult;
  /** What the Bot API's answer was; undefined if there was nothing to ask. */
  outcome?: Outcome;
  /** The bot's token could not be opened. */
  tokenSealed?: true;
}

/** What of a claimed send and its place an attempt needs. */
interface WrittenSend {
  send: ClaimedSend;
  /** Undefined takes one when the request is ready. */
  place: Place | undefined;
}

interface Wire {
  /** A request went onto its connection, and its end is not known. */
  inDoubt: boolean;
  /** Of the last request. */
  outcome?: Outcome;
  /** When the last request was written, on the monotonic clock. */
  writtenAtMs: number | undefined;
  /** Until a request has taken it. */
  place: Place | undefined;
}

/** A fault of ours before the request was written (media that cannot be read, a message that cannot be composed). */
const FAULT_RETRY_MS = 5_000;

/** Nobody listens: the same lead is not tried again at once. */
const REFUSED_RETRY_MS = 1_000;

/** A place in the pace is good for this long: less than what the window is stricter than the limit. */
const PLACE_KEPT_MS = 4;

/** Sends what has just taken its place in the lane's pace. Never rejects. */
export async function attemptSend(lane: Lane, { send, place }: WrittenSend, options: AttemptOptions): Promise<Attempt> {
  const { clock, onError, openToken, attach } = options;
  const obstacle = options.obstacle(lane);
  if (obstacle !== undefined) return { result: { result: "putBack", reason: obstacle } };
  const wire: Wire = { inDoubt: false, writtenAtMs: undefined, place };
  try {
    const token = tokenOf(send, openToken);
    if (token === undefined) return { result: { result: "putBack", reason: SendReason.botRefused }, tokenSealed: true };
    const message = composeMessage(send, clock.now());
    if (!message) return { result: { result: "failed", reason: SendReason.blankText, leaves: false } };
    const deliver = delivery(lane, token, message, wire, options);
    const outcome = message.media === "" || !attach ? await deliver() : await attach(send, deliver);
    return { result: resultOf(outcome, wire), outcome };
  } catch (error) {
    onError(error);
    return { result: faultResult(wire), outcome: wire.outcome };
  }
}

function tokenOf(send: ClaimedSend, openToken: AttemptOptions["openToken"]): string | undefined {
  try {
    return openToken(send.botId, send.bot.tokenSealed);
  } catch {
    return undefined;
  }
}

/** A mistake of ours came before a request was written, or after its outcome was known: then that stands. */
function faultResult(wire: Wire): SendResult {
  const { inDoubt, outcome } = wire;
  if (inDoubt) return { result: "unconfirmed", reason: SendReason.connectionCut };
  if (outcome?.outcome === "sent" || outcome?.outcome === "unknown") return resultOf(outcome, wire);
  return { result: "putBack", reason: SendReason.shutdown, retryAfterMs: FAULT_RETRY_MS };
}

function delivery(lane: Lane, token: string, message: OutgoingMessage, wire: Wire, options: AttemptOptions): Deliver {
  const { api, clock } = options;
  return async (attachment) => {
    // Sends with media may have waited for their file, and may make a second request: that takes a place of its own.
    const { place: kept } = wire;
    const place = kept && clock.monotonicMs() - kept.atMs <= PLACE_KEPT_MS ? kept : await takePlace(lane, clock);
    const startedAt = clock.monotonicMs();
    wire.place = undefined;
    let obstacle = options.obstacle(lane);
    if (obstacle !== undefined) return { outcome: "postponed", reason: obstacle };
    killPoint("request.before");
    const reply = await api.send(token, message, attachment, {
      // Once more: opening a connection or reading a file may have outlasted our right to write.
      mayWrite: () => {
        obstacle = options.obstacle(lane);
        return obstacle === undefined;
      },
      onWritten: () => {
        wire.inDoubt = true;
        wire.writtenAtMs = clock.monotonicMs();
        lane.pacer.wrote(place, wire.writtenAtMs);
      },
    });
    // What the answer says stands, whatever fails while more is asked about it.
    wire.outcome = obstacle === undefined ? outcomeOf(reply) : { outcome: "postponed", reason: obstacle };
    wire.inDoubt = false;
    killPoint("request.after");
    if (reply.answer === "fault") options.onError(new Error(`A request could not be made: ${reply.message}`));
    if (obstacle === undefined) wire.outcome = await options.tokenChecks.confirm(token, reply);
    if (wire.outcome.outcome === "sent") lane.noteLatency(clock.monotonicMs() - startedAt);
    return wire.outcome;
  };
}

async function takePlace(lane: Lane, clock: Clock): Promise<Place> {
  for (;;) {
    const now = clock.monotonicMs();
    const waitMs = lane.pacer.nextAt(now) - now;
    if (waitMs <= 0) return lane.pacer.record(now);
    await clock.sleep(waitMs);
  }
}

function resultOf(outcome: Outcome, { writtenAtMs }: Wire): SendResult {
  switch (outcome.outcome) {
    case "sent":
      return { result: "sent", messageId: outcome.messageId };
    case "lead":
      return { ...leadFaultOf(outcome), writtenAtMs };
    case "body":
      return { result: "bodyFault", reason: outcome.reason, words: outcome.words };
    case "unlisted":
      return bodyFaultOf(outcome);
    case "bot":
      return { result: "putBack", reason: SendReason.botRefused };
    case "rateLimited":
      return { result: "putBack", reason: SendReason.rateLimited };
    case "refused":
      return { result: "putBack", reason: outcome.reason, retryAfterMs: REFUSED_RETRY_MS };
    case "unknown":
      return { result: "unconfirmed", reason: outcome.reason };
    case "postponed":
      return { result: "putBack", reason: outcome.reason, retryAfterMs: outcome.retryAfterMs };
    default:
      return outcome satisfies never;
  }
}

function leadFaultOf({ reason, leaves, suspicion }: Outcome & { outcome: "lead" }): SendResult & { result: "failed" } {
  return { result: "failed", reason, leaves, suspicion };
}

function bodyFaultOf({ reason, suspicion }: Outcome & { outcome: "unlisted" }): SendResult {
  return { result: "bodyFault", reason, words: suspicion.words, suspicion };
}
