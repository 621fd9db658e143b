/** The transactions of sessions. */
import { noteChange } from "#services/core/audit/record.ts";
import type { Sql } from "#services/core/database/client.ts";
import { notYours } from "#services/platform/domain-error.ts";
import { sessionIdFrom } from "#services/platform/rpc/context.ts";
import { createSessionToken, hashSessionToken, SESSIONS_PER_ACCOUNT } from "./account.ts";
import * as store from "./session-store.ts";

export interface OpenedSession {
  token: string;
  expiresAt: Date;
}

/**
 * Opens a session. Calls for one account come one after the other, so that an account never has more than its 100, whatever
 * comes at once: the least recently used ends. Throws DomainError NOT_YOURS.
 */
export async function openSession(sql: Sql, accountId: number, ttlSeconds: number): Promise<OpenedSession> {
  const token = createSessionToken();
  const expiresAt = (await sql.begin(async (tx) => {
    if (!(await store.lockAccount(tx, accountId))) throw notYours("account");
    const expires = await store.insertSession(tx, { tokenHash: hashSessionToken(token), accountId, ttlSeconds });
    await store.deleteLeastRecentlyUsed(tx, accountId, SESSIONS_PER_ACCOUNT);
    noteChange({ object: { kind: "session", id: sessionIdFrom(token) } });
    return expires;
  })) as Date;
  await store.deleteExpiredSessions(sql);
  return { token, expiresAt };
}

/** Ends one session; an unknown token is no error. */
export async function endSession(sql: Sql, token: string): Promise<void> {
  await sql.begin(async (tx) => {
    const accountId = await store.deleteSession(tx, hashSessionToken(token));
    noteChange({ accountId, object: { kind: "session", id: sessionIdFrom(token) }, changes: accountId ? 1 : 0 });
  });
}

/** Ends an account's sessions, or those of them that are named. @returns how many. Throws DomainError NOT_YOURS. */
export async function endSessions(sql: Sql, accountId: number, ids: readonly string[]): Promise<number> {
  return (await sql.begin(async (tx) => {
    if (!(await store.lockAccount(tx, accountId))) throw notYours("account");
    const changes = await store.deleteSessions(tx, accountId, ids);
    noteChange({ changes });
    return changes;
  })) as number;
}
