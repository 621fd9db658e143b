import type { CallOptions, Client } from "@connectrpc/connect";
import type { AccountService } from "#gen/leadcast/account/v1/account_service_pb.ts";
import { sessionIdFrom } from "#services/platform/rpc-context.ts";
import { RestError } from "./rest-error.ts";

export interface Session {
  readonly accountId: bigint;
  /** Names the session without opening it; see `sessionIdFrom`. */
  readonly sessionId: string;
}

/**
 * Says on whose behalf a request comes, by its `Authorization: Bearer <token>` and by nothing else: a cookie would make
 * requests forgeable from other sites, a query would leave the token in logs.
 *
 * @throws RestError `key` without a valid session, `unpaid` when the account's subscription is not active.
 */
export type ResolveSession = (request: Request, options: CallOptions) => Promise<Session>;

/** What a token may be made of (RFC 6750); the account service takes at most 255 characters. */
const bearer = /^Bearer +([A-Za-z0-9._~+/-]{1,255}=*)$/i;
const maxTokenLength = 255;
/** One lookup may wait for the one before it: together they end well before a caller gives up. */
const lookupTimeoutMs = 10_000;

export function createSessions(account: Client<typeof AccountService>): ResolveSession {
  const lookUp = createLookup(account);
  return async (request, options) => {
    const token = bearer.exec(request.headers.get("authorization") ?? "")?.[1];
    if (token === undefined || token.length > maxTokenLength) {
      throw new RestError("key", "Send the session's token as Authorization: Bearer <token>.");
    }
    const { accountId, paid } = await lookUp(token, options);
    if (!paid) throw new RestError("unpaid", "Your subscription is not active.");
    return { accountId, sessionId: sessionIdFrom(token) };
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
