import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { ConnectRouter } from "@connectrpc/connect";
import type {
  Account as AccountMessage,
  AccountSchema,
  Tariff as TariffMessage,
  TariffSchema,
} from "#gen/leadcast/account/v1/account_pb.ts";
import {
  AccountService,
  CreateSessionResponseSchema,
  GetAccountResponseSchema,
  PutAccountResponseSchema,
  PutTariffResponseSchema,
  ResolveSessionResponseSchema,
} from "#gen/leadcast/account/v1/account_service_pb.ts";
import { keepSequenceAhead } from "#services/database/assigned-id.ts";
import type { Drizzle, Sql } from "#services/database/client.ts";
import { retryCollisions, SqlState, sqlStateOf } from "#services/database/retry.ts";
import { DomainError, ErrorReason, notYours } from "#services/platform/domain-error.ts";
import { dateFromTimestamp, timestampFromMoment } from "#services/platform/rpc-time.ts";
import { type Account, createSessionToken, hashSessionToken, sessionSeconds, type Tariff } from "./account.ts";
import {
  deleteExpiredSessions,
  deleteSession,
  insertSession,
  selectAccount,
  selectSession,
  upsertAccount,
  upsertTariff,
} from "./store.ts";

export interface AccountRoutesOptions {
  sql: Sql;
  db: Drizzle;
}

/** AccountService over one database. */
export function createAccountRoutes({ sql, db }: AccountRoutesOptions): (router: ConnectRouter) => void {
  return (router) => {
    router.service(AccountService, {
      putTariff: async ({ tariff }) => {
        const wanted = tariffFromMessage(tariff!);
        await keepSequenceAhead(sql, "tariff", wanted.id);
        const stored = await retryCollisions(() => upsertTariff(db, wanted));
        return create(PutTariffResponseSchema, { tariff: tariffToMessage(stored) });
      },
      putAccount: async ({ account }) => {
        const stored = await putAccount(sql, db, accountFromMessage(account!));
        return create(PutAccountResponseSchema, { account: accountToMessage(stored) });
      },
      getAccount: async ({ accountId }) => {
        const row = await selectAccount(db, Number(accountId));
        if (row === undefined) throw notYours("account");
        return create(GetAccountResponseSchema, {
          account: accountToMessage(row.account),
          tariff: tariffToMessage(row.tariff),
        });
      },
      createSession: async ({ accountId, ttlSeconds }) => {
        const session = await openSession(sql, Number(accountId), sessionSeconds(ttlSeconds));
        return create(CreateSessionResponseSchema, session);
      },
      resolveSession: async ({ token }) => {
        const session = await selectSession(sql, hashSessionToken(token));
        if (session === undefined) {
          throw new DomainError(ErrorReason.SESSION_INVALID, "The session is unknown or has ended: sign in again.");
        }
        return create(ResolveSessionResponseSchema, {
          accountId: BigInt(session.accountId),
          paid: session.paid,
          expireTime: timestampFromMoment(session.expiresAt),
        });
      },
      revokeSession: async ({ token }) => {
        await deleteSession(db, hashSessionToken(token));
        return {};
      },
    });
  };
}

async function putAccount(sql: Sql, db: Drizzle, wanted: Account): Promise<Account> {
  await keepSequenceAhead(sql, "account", wanted.id);
  try {
    return await retryCollisions(() => upsertAccount(db, wanted));
  } catch (error) {
    if (sqlStateOf(error) !== SqlState.foreignKeyViolation) throw error;
    const field = "account.tariff_id";
    throw new DomainError(ErrorReason.INVALID_ARGUMENT, `${field}: there is no such tariff`, { field, cause: error });
  }
}

async function openSession(sql: Sql, accountId: number, ttlSeconds: number) {
  const token = createSessionToken();
  const expiresAt = await insertSession(sql, { tokenHash: hashSessionToken(token), accountId, ttlSeconds });
  if (expiresAt === undefined) throw notYours("account");
  await deleteExpiredSessions(sql);
  return { token, expireTime: timestampFromMoment(expiresAt) };
}

function tariffFromMessage({ id, name, broadcasts, dailyCap }: TariffMessage): Tariff {
  return { id: Number(id), name, broadcasts, dailyCap };
}

function tariffToMessage({ id, ...rest }: Tariff): MessageInitShape<typeof TariffSchema> {
  return { id: BigInt(id), ...rest };
}

function accountFromMessage(message: AccountMessage): Account {
  const { paidUntilTime } = message;
  return {
    id: Number(message.id),
    name: message.name,
    tariffId: Number(message.tariffId),
    paidUntil: paidUntilTime ? dateFromTimestamp(paidUntilTime, "account.paid_until_time") : null,
    telegramChatId: Number(message.telegramChatId),
  };
}

function accountToMessage(account: Account): MessageInitShape<typeof AccountSchema> {
  return {
    id: BigInt(account.id),
    name: account.name,
    tariffId: BigInt(account.tariffId),
    paidUntilTime: timestampFromMoment(account.paidUntil),
    telegramChatId: BigInt(account.telegramChatId),
  };
}
