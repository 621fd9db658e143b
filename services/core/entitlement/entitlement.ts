/**
 * What an account may do now, and the interceptor that turns a lapsed one away. Both services that customers reach use
 * it, so that "paid" means one thing.
 */
import type { Interceptor, UnaryRequest } from "@connectrpc/connect";
import type postgres from "postgres";
import { type DatabaseClock, databaseClock } from "#services/core/ledger/database-clock.ts";
import { isPaid } from "#services/core/ledger/predicates.ts";
import { DomainError, ErrorReason, notYours } from "#services/platform/domain-error.ts";
import { rpcName } from "#services/platform/rpc/errors.ts";

export interface Entitlement {
  accountId: number;
  /** Whether the subscription is active at this moment. */
  paid: boolean;
  /** Whether blocks may be turned on and broadcasts started. */
  broadcasts: boolean;
  /** Manual messages per UTC day; 0 is unlimited. */
  dailyCap: number;
  /** The private chat with the service bot; 0 while none is linked. */
  telegramChatId: number;
}

/** A client or a transaction on one. */
type Queryable = postgres.ISql<{ bigint: number }>;

/**
 * One query, on Postgres' clock: every replica and the claim agree on when a subscription ends.
 * @param offsetMs added to that clock; 0 outside tests.
 * @returns undefined if there is no such account.
 */
export async function loadEntitlement(
  sql: Queryable,
  accountId: number,
  offsetMs = 0,
): Promise<Entitlement | undefined> {
  const [row] = await sql<Entitlement[]>`
    SELECT a.id AS "accountId", t.broadcasts, t.daily_cap AS "dailyCap", a.telegram_chat_id AS "telegramChatId",
      ${isPaid(sql, offsetMs)} AS paid
    FROM account a JOIN tariff t ON t.id = a.tariff_id
    WHERE a.id = ${accountId}`;
  return row;
}

export interface PaidInterceptorOptions {
  sql: Queryable;
  /** The customers' RPCs, as `package.Service/Method`. What the platform calls goes on for a lapsed account. */
  methods: ReadonlySet<string>;
  /** Default: Postgres' own clock. */
  clock?: DatabaseClock;
}

/**
 * Turns customers of a lapsed account away. It stands before validation, because the contract asks for payment before it
 * asks for parameters; a request without a usable account id is left to validation.
 *
 * Throws DomainError UNPAID, or NOT_YOURS for an account that does not exist.
 */
export function paidInterceptor({ sql, methods, clock = databaseClock }: PaidInterceptorOptions): Interceptor {
  const check = async (message: unknown) => {
    const accountId = accountIdOf(message);
    if (accountId === undefined) return;
    const entitlement = await loadEntitlement(sql, accountId, clock.offsetMs());
    if (entitlement === undefined) throw notYours("account");
    if (!entitlement.paid) {
      throw new DomainError(ErrorReason.UNPAID, "The subscription is not active: renew it to go on.", {
        field: "account_id",
      });
    }
  };
  return (next) => async (request) => {
    if (!methods.has(rpcName(request.method))) return await next(request);
    if (request.stream) return await next({ ...request, message: checked(request.message, check) });
    await check((request as UnaryRequest).message);
    return await next(request);
  };
}

async function* checked<T>(messages: AsyncIterable<T>, check: (message: T) => Promise<void>): AsyncGenerator<T> {
  for await (const message of messages) {
    await check(message);
    yield message;
  }
}

function accountIdOf(message: unknown): number | undefined {
  const { accountId } = message as { accountId?: unknown };
  if (typeof accountId !== "bigint" || accountId <= 0n) return undefined;
  return accountId <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(accountId) : undefined;
}
