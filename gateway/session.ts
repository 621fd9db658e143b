import type { CallOptions, Client } from "@connectrpc/connect";
import type { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { ErrorReason } from "#services/platform/domain-error.ts";
import { RateLimit } from "#services/platform/rate-limit.ts";
import { sessionIdFrom } from "#services/platform/rpc/context.ts";
import { reasonFromError } from "#services/platform/rpc/errors.ts";
import { type Limits, rateWindowSeconds } from "./limits.ts";
import type { Trace } from "./observe.ts";
import { limited, RestError } from "./rest-error.ts";
import { Recent, type Strangers } from "./strangers.ts";

export interface Session {
  readonly accountId: bigint;
  /** Names the session without opening it; see `sessionIdFrom`. */
  readonly sessionId: string;
}

/**
 * Says on whose behalf a request comes, by its `Authorization: Bearer <token>` and by nothing else: a cookie would make
 * requests forgeable from other sites, a query would leave the token in logs.
 *
 * @throws RestError `key` without a valid session, `limit` above its rate, `unpaid` when the account's subscription is not active.
 */
export type ResolveSession = (
  request: Request,
  trace: Pick<Trace, "address">,
  options: CallOptions,
) => Promise<Session>;

/** What a token may be made of (RFC 6750); the account service takes at most 255 characters. */
const bearer = /^Bearer +([A-Za-z0-9._~+/-]{1,255}=*)$/i;
const maxTokenLength = 255;
/** One lookup may wait for the one before it: together they end well before a caller gives up. */
const lookupTimeoutMs = 10_000;

/** Sessions that this process has seen to be good lately, with their accounts. */
const maxKnownSessions = 20_000;

export function createSessions(
  account: Client<typeof AccountService>,
  limits: Limits,
  strangers: Strangers,
): ResolveSession {
  const lookUp = createLookup(account);
  const rates = createRates(limits);
  const known = new Recent<bigint>(maxKnownSessions);
  return async (request, { address }, options) => {
    const token = tokenFrom(request) ?? (await strangers.refuseWithoutToken(address));
    const sessionId = sessionIdFrom(token);
    const before = known.get(sessionId);
    if (before !== undefined) await rates.look(sessionId, before);
    const { accountId, paid } = await strangers.check({
      address,
      known: before !== undefined,
      signal: request.signal,
      work: () => lookUp(token, options),
      isWrong: isUnknownSession,
    });
    known.set(sessionId, accountId);
    await rates.take(sessionId, accountId);
    if (!paid) throw new RestError("unpaid", "Your subscription is not active.");
    return { accountId, sessionId };
  };
}

function tokenFrom(request: Request): string | undefined {
  const token = bearer.exec(request.headers.get("authorization") ?? "")?.[1];
  return token !== undefined && token.length <= maxTokenLength ? token : undefined;
}

function isUnknownSession(error: unknown): boolean {
  return reasonFromError(error).reason === ErrorReason.SESSION_INVALID;
}

/** Calls of a session, and of all sessions of its account. */
function createRates({ sessionCallsPerSecond, accountCallsPerSecond }: Limits) {
  const limitOf = (calls: number) =>
    new RateLimit({ calls: calls * rateWindowSeconds, windowSeconds: rateWindowSeconds });
  const sessions = limitOf(sessionCallsPerSecond);
  const accounts = limitOf(accountCallsPerSecond);
  const refuse = (session: number, account: number) => {
    if (session > 0) throw limited("Too many calls in too short a time with this session: slow down.", session);
    if (account > 0) throw limited("Too many calls in too short a time for this account: slow down.", account);
  };
  return {
    /** Before the session is looked up: whoever is above a limit costs no more than this. */
    look: async (sessionId: string, accountId: bigint) =>
      refuse(await sessions.look(sessionId), await accounts.look(String(accountId))),
    take: async (sessionId: string, accountId: bigint) =>
      refuse(await sessions.take(sessionId), await accounts.take(String(accountId))),
  };
}

type Found = Awaited<ReturnType<Client<typeof AccountService>["resolveSession"]>>;

interface Lookup {
  /** Whether the account service has been asked: whoever comes from then on needs a later answer. */
  asked: boolean;
  answer: Promise<Found>;
}

/**
 * One question at a time for each token. Requests that come while it is under way share the next one, so each answer is
 * newer than the request it is for, and a session that was revoked is refused from the next request on.
 */
function createLookup(account: Client<typeof AccountService>) {
  const latest = new Map<string, Lookup>();

  async function ask(lookup: Lookup, token: string, options: CallOptions, before: Lookup | undefined): Promise<Found> {
    await before?.answer.catch(() => {});
    lookup.asked = true;
    try {
      return await account.resolveSession({ token }, { ...options, timeoutMs: lookupTimeoutMs });
    } finally {
      if (latest.get(token) === lookup) latest.delete(token);
    }
  }

  return (token: string, options: CallOptions): Promise<Found> => {
    const before = latest.get(token);
    if (before && !before.asked) return before.answer;
    const lookup = { asked: false } as Lookup;
    lookup.answer = ask(lookup, token, options, before);
    latest.set(token, lookup);
    return lookup.answer;
  };
}
