/**
 * The turns of accounts in this process. Every call's body is read, and its work is done, in one of its account's turns;
 * uploads have turns of their own, so that slow ones keep nothing but further uploads of their account waiting.
 */
import { FairTurns } from "#services/platform/fair-turns.ts";
import { formBytesPerSecond, formLimitBytes, uploadLimitBytes } from "./body.ts";
import { type Form, readForm } from "./form.ts";
import type { Limits } from "./limits.ts";
import { readUpload } from "./multipart.ts";

type Work = (form: Form) => Promise<unknown>;

/** Reads a request's parameters and does its work, when it is the account's turn. */
type Turn = (accountId: bigint, request: Request, work: Work) => Promise<unknown>;

export interface AccountTurns {
  readonly call: Turn;
  /** For a reply that takes many pages: beside other accounts' the next one is made when this one has ended. */
  readonly long: Turn;
  readonly upload: Turn;
}

/** A call waits for an RPC most of the time: what runs costs little, and an account's share is what binds. */
const maxCalls = 1_024;
/** Longer than an ordinary call of those before it takes, shorter than a browser waits. */
const maxWaitMs = 10_000;

export function createAccountTurns(limits: Limits): AccountTurns {
  const calls = new FairTurns({
    maxRunning: maxCalls,
    maxRunningPerKey: limits.share.atOnce,
    maxBesideOthers: limits.share.besideOthers,
    maxWaitingPerKey: limits.share.waiting,
    maxWaiting: maxCalls,
    maxWaitMs,
    refusal: "Too many calls of your account run at once: wait for some of them to end.",
  });
  const longOnes = new FairTurns({
    maxRunning: maxCalls,
    maxRunningPerKey: limits.share.atOnce,
    maxBesideOthers: 1,
    maxWaitingPerKey: limits.share.waiting,
    maxWaiting: maxCalls,
    maxWaitMs,
    refusal: "Too many lists of your account are asked for at once: wait for some of them to end.",
  });
  const uploads = new FairTurns({
    maxRunning: limits.uploadsAtOnce,
    maxRunningPerKey: limits.accountUploadsAtOnce,
    // Nothing is read while they wait: their senders wait with them.
    maxWaitingPerKey: limits.accountUploadsAtOnce,
    maxWaiting: limits.uploadsAtOnce,
    maxWaitMs,
    refusal: "Too many uploads run at once: wait for some of yours to end.",
  });
  const form = { bytes: formLimitBytes, bytesPerSecond: formBytesPerSecond };
  const file = { bytes: uploadLimitBytes, bytesPerSecond: limits.uploadBytesPerSecond };
  const call: Turn = (accountId, request, work) =>
    calls.take(String(accountId), async () => work(await readForm(request, form)), request.signal);
  return {
    call,
    // A turn of each: who else calls counts for lists, too.
    long: (accountId, request, work) =>
      longOnes.take(String(accountId), () => call(accountId, request, work), request.signal),
    upload: (accountId, request, work) =>
      uploads.take(String(accountId), async () => work(await readUpload(request, file)), request.signal),
  };
}
