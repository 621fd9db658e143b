import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { ConnectRouter, ServiceImpl } from "@connectrpc/connect";
import type {
  Account as AccountMessage,
  AccountSchema,
  SessionSchema,
  Tariff as TariffMessage,
  TariffSchema,
} from "#gen/leadcast/account/v1/account_pb.ts";
import {
  AccountService,
  CreateSessionResponseSchema,
  GetAccountResponseSchema,
  ListSessionsResponseSchema,
  PutAccountResponseSchema,
  PutTariffResponseSchema,
  ResolveSessionResponseSchema,
} from "#gen/leadcast/account/v1/account_service_pb.ts";
import { noteChange } from "#services/core/audit/record.ts";
import { keepSequenceAhead } from "#services/core/database/assigned-id.ts";
import type { Drizzle, Sql } from "#services/core/database/client.ts";
import { retryCollisions, SqlState, sqlStateOf } from "#services/core/database/retry.ts";
import { systemClock } from "#services/platform/clock.ts";
import { DomainError, ErrorReason, notYours } from "#services/platform/domain-error.ts";
import { dateFromTimestamp, timestampFromMoment } from "#services/platform/rpc/time.ts";
import { type Account, DEFAULT_MAX_BROADCASTS, hashSessionToken, sessionSeconds, type Tariff } from "./account.ts";
import { auditHandlers } from "./audit-log.ts";
import { accountExists, selectSession, selectSessions } from "./session-store.ts";
import { SessionUses } from "./session-uses.ts";
import { endSession, endSessions, openSession } from "./sessions.ts";
import { selectAccount, upsertAccount, upsertTariff } from "./store.ts";

export interface AccountRoutesOptions {
  sql: Sql;
  db: Drizzle;
  /** Default: one of its own, whose last second nobody waits for. */
  uses?: SessionUses;
}

type Handlers = Partial<ServiceImpl<typeof AccountService>>;

/** AccountService over one database. */
export function createAccountRoutes(options: AccountRoutesOptions): (router: ConnectRouter) => void {
  return (router) => {
    router.service(AccountService, {
      ...accountHandlers(options),
      ...sessionHandlers(options),
      ...auditHandlers(options.sql),
    });
  };
}

function accountHandlers({ sql, db }: AccountRoutesOptions): Handlers {
  return {
    putTariff: async ({ tariff }) => {
      const stored = await putTariff(sql, db, tariffFromMessage(tariff!));
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
  };
}

function sessionHandlers({ sql, ...options }: AccountRoutesOptions): Handlers {
  const uses = options.uses ?? new SessionUses({ sql, clock: systemClock, onError: () => {} });
  return {
    createSession: async ({ accountId, ttlSeconds }) => {
      // Whoever was used last must not end for that it is not written yet.
      await uses.flush();
      const { token, expiresAt } = await openSession(sql, Number(accountId), sessionSeconds(ttlSeconds));
      return create(CreateSessionResponseSchema, { token, expireTime: timestampFromMoment(expiresAt) });
    },
    resolveSession: async ({ token }) => {
      const tokenHash = hashSessionToken(token);
      const session = await selectSession(sql, tokenHash);
      if (session === undefined) {
        throw new DomainError(ErrorReason.SESSION_INVALID, "The session is unknown or has ended: sign in again.");
      }
      uses.note(tokenHash);
      return create(ResolveSessionResponseSchema, {
        accountId: BigInt(session.accountId),
        paid: session.paid,
        expireTime: timestampFromMoment(session.expiresAt),
      });
    },
    revokeSession: async ({ token }) => {
      await endSession(sql, token);
      return {};
    },
    listSessions: async ({ accountId }) => {
      await uses.flush();
      const sessions = await listSessions(sql, Number(accountId));
      return create(ListSessionsResponseSchema, { sessions });
    },
    revokeSessions: async ({ accountId, sessionIds }) => ({
      revoked: await endSessions(sql, Number(accountId), sessionIds),
    }),
  };
}

async function listSessions(sql: Sql, accountId: number): Promise<MessageInitShape<typeof SessionSchema>[]> {
  if (!(await accountExists(sql, accountId))) throw notYours("account");
  const sessions = await selectSessions(sql, accountId);
  return sessions.map(({ id, createdAt, lastUsedAt, expiresAt }) => ({
    id,
    createTime: timestampFromMoment(createdAt),
    lastUseTime: timestampFromMoment(lastUsedAt),
    expireTime: timestampFromMoment(expiresAt),
  }));
}

async function putTariff(sql: Sql, db: Drizzle, wanted: Tariff): Promise<Tariff> {
  await keepSequenceAhead(sql, "tariff", wanted.id);
  return await retryCollisions(() =>
    db.transaction(async (tx) => {
      const stored = await upsertTariff(tx, wanted);
      noteChange({ object: { kind: "tariff", id: String(stored.id) } });
      return stored;
    }),
  );
}

async function putAccount(sql: Sql, db: Drizzle, wanted: Account): Promise<Account> {
  await keepSequenceAhead(sql, "account", wanted.id);
  try {
    return await retryCollisions(() =>
      db.transaction(async (tx) => {
        const stored = await upsertAccount(tx, wanted);
        noteChange({ accountId: stored.id, object: { kind: "account", id: String(stored.id) } });
        return stored;
      }),
    );
  } catch (error) {
    if (sqlStateOf(error) !== SqlState.foreignKeyViolation) throw error;
    const field = "account.tariff_id";
    throw new DomainError(ErrorReason.INVALID_ARGUMENT, `${field}: there is no such tariff`, { field, cause: error });
  }
}

function tariffFromMessage({ id, name, broadcasts, dailyCap, maxBroadcasts }: TariffMessage): Tariff {
  return { id: Number(id), name, broadcasts, dailyCap, maxBroadcasts: maxBroadcasts || DEFAULT_MAX_BROADCASTS };
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
