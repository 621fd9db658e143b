import type { CallOptions } from "@connectrpc/connect";
import type { GatewayClients } from "./clients.ts";
import { RestError } from "./rest-error.ts";

export interface Session {
  readonly accountId: bigint;
}

/** What a token may be made of (RFC 6750); ResolveSession takes at most 255 characters. */
const bearer = /^Bearer +([A-Za-z0-9._~+/-]{1,255}=*)$/i;
const maxTokenLength = 255;

/**
 * Says on whose behalf a request comes, by its `Authorization: Bearer <token>` and by nothing else: a cookie would make
 * requests forgeable from other sites, a query would leave the token in logs.
 *
 * @throws RestError `key` without a valid session, `unpaid` when the account's subscription is not active.
 */
export async function resolveSession(
  request: Request,
  clients: GatewayClients,
  options: CallOptions,
): Promise<Session> {
  const token = bearer.exec(request.headers.get("authorization") ?? "")?.[1];
  if (token === undefined || token.length > maxTokenLength) {
    throw new RestError("key", "Send the session's token as Authorization: Bearer <token>.");
  }
  const { accountId, paid } = await clients.account.resolveSession({ token }, options);
  if (!paid) throw new RestError("unpaid", "Your subscription is not active.");
  return { accountId };
}
