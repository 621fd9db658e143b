/**
 * What one caller may take of a service. Three bounds, all of this process alone:
 *
 * - calls of one account at once, for each service token by itself: an importer that floods an account does not keep its
 *   owner's dashboard waiting;
 * - calls of one service token in a while;
 * - wrong service tokens of one address: above it their refusals are kept back.
 */
import type { Interceptor } from "@connectrpc/connect";
import { type Static, Type } from "@sinclair/typebox";
import { addressBucket } from "#services/platform/client-address.ts";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";
import { FairTurns } from "#services/platform/fair-turns.ts";
import { createHoldBack } from "#services/platform/hold-back.ts";
import { defaultShare, type Share, shareFrom, shareVars } from "#services/platform/load-config.ts";
import { RateLimit } from "#services/platform/rate-limit.ts";
import { callerKey, currentCaller } from "./context.ts";
import { rpcName } from "./errors.ts";
import { mapReply } from "./reply.ts";

const count = (calls: number) => Type.Integer({ minimum: 1, maximum: 1_000_000, default: calls });

export const rpcLoadVars = {
  ...shareVars,
  /** More than a service answers: a gateway at full load passes, and a loop that went wrong does not take everything. */
  TOKEN_CALLS_PER_SECOND: count(5_000),
  ADDRESS_FAILURES_PER_MINUTE: count(600),
} as const;

export interface RpcLoad {
  readonly share: Share;
  readonly tokenCallsPerSecond: number;
  readonly addressFailuresPerMinute: number;
}

type LoadConfig = { readonly [K in keyof typeof rpcLoadVars]: Static<(typeof rpcLoadVars)[K]> };

export function rpcLoadFrom(config: LoadConfig): RpcLoad {
  return {
    share: shareFrom(config),
    tokenCallsPerSecond: config.TOKEN_CALLS_PER_SECOND,
    addressFailuresPerMinute: config.ADDRESS_FAILURES_PER_MINUTE,
  };
}

export const defaultRpcLoad: RpcLoad = {
  share: defaultShare,
  tokenCallsPerSecond: rpcLoadVars.TOKEN_CALLS_PER_SECOND.default,
  addressFailuresPerMinute: rpcLoadVars.ADDRESS_FAILURES_PER_MINUTE.default,
};

const rateWindowSeconds = 10;
/** A call that waits for a lock or for Telegram holds its turn and little else. */
const maxRunning = 256;
const maxWaiting = 4_096;
const maxWaitMs = 10_000;
/** Streams of one account; each looks at Postgres twice a second. */
const maxStreams = 100;
const tooMany = "Too many calls of this account run at once: wait for some of them to end.";

/**
 * Refuses calls above the bounds with RATE_LIMITED. It stands before whatever asks Postgres.
 * @param ownTurns RPCs, as `package.Service/Method`, that take turns of their own.
 */
export function loadInterceptor({ share, tokenCallsPerSecond }: RpcLoad, ownTurns: ReadonlySet<string>): Interceptor {
  const rate = new RateLimit({ calls: tokenCallsPerSecond * rateWindowSeconds, windowSeconds: rateWindowSeconds });
  const bounds = { maxRunning, maxWaiting, maxWaitMs, refusal: tooMany };
  const calls = new FairTurns({ ...bounds, ...sharesOf(share) });
  const streams = createStreamTurns();
  return (next) => async (request) => {
    const token = request.contextValues.get(callerKey);
    if (token === "") return await next(request);
    await takeRate(rate, token);
    if (request.stream) {
      const turn = streams(token);
      try {
        const response = await next({ ...request, message: turn.entering(request.message) });
        return mapReply(response, { onEnd: turn.leave });
      } catch (error) {
        turn.leave();
        throw error;
      }
    }
    const key = ownTurns.has(rpcName(request.method)) ? undefined : shareKey(token, request.message);
    return key === undefined ? await next(request) : await calls.take(key, () => next(request), request.signal);
  };
}

function sharesOf({ atOnce, besideOthers, waiting }: Share) {
  return { maxRunningPerKey: atOnce, maxBesideOthers: besideOthers, maxWaitingPerKey: waiting };
}

async function takeRate(rate: RateLimit, token: string): Promise<void> {
  const retryAfterSeconds = await rate.take(token);
  if (retryAfterSeconds === 0) return;
  const message = `Too many calls in too short a time with the service token ${token}: slow down.`;
  throw new DomainError(ErrorReason.RATE_LIMITED, message, { retryAfterSeconds });
}

/**
 * Whose share a call takes. Updates of a bot are told apart by their sender, so that wrong secrets from anywhere do not
 * keep Telegram waiting. Undefined for calls that name neither: sessions are looked up one at a time by the gateway, and
 * the others are operators' and the platform's.
 */
function shareKey(token: string, message: object): string | undefined {
  const { accountId, botId } = message as { accountId?: unknown; botId?: unknown };
  if (typeof accountId === "bigint") return `${token}/${accountId}`;
  if (typeof botId === "bigint") return `${token}/bot/${botId}/${addressBucket(currentCaller()?.address ?? "")}`;
  return undefined;
}

/** A stream has its turn from its request on, which says whose it is, until its reply ends; none waits for one. */
function createStreamTurns() {
  const bounds = {
    maxRunning: maxWaiting,
    maxRunningPerKey: maxStreams,
    maxWaitingPerKey: 0,
    maxWaiting: 0,
    maxWaitMs,
  };
  const turns = new FairTurns({ ...bounds, refusal: "Too many streams of this account are open: close some." });
  return (token: string) => {
    const ended = Promise.withResolvers<void>();
    async function enter(message: object): Promise<void> {
      const begun = Promise.withResolvers<void>();
      const work = () => {
        begun.resolve();
        return ended.promise;
      };
      turns.take(shareKey(token, message) ?? token, work).catch(begun.reject);
      await begun.promise;
    }
    async function* entering<T extends object>(messages: AsyncIterable<T>): AsyncGenerator<T> {
      let entered = false;
      for await (const message of messages) {
        if (!entered) await enter(message);
        entered = true;
        yield message;
      }
    }
    return { entering, leave: () => ended.resolve() };
  };
}

/** Keeps the refusal of a wrong service token back where its address has sent too many of them. */
export function createTokenGuard({ addressFailuresPerMinute }: RpcLoad) {
  const failures = new RateLimit({ calls: addressFailuresPerMinute, windowSeconds: 60 });
  const holdBack = createHoldBack();
  return async (address: string, signal: AbortSignal): Promise<void> => {
    if ((await failures.take(addressBucket(address))) > 0) await holdBack(signal);
  };
}
