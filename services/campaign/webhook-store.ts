/** Statements about webhooks' secrets. Raw: drizzle puts parameters into its errors. */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";

export interface StoredSecrets {
  /** Of before it was sealed; empty since. */
  plain: string;
  sealed: string | null;
  /** Null where there is none, or none that counts. */
  former: string | null;
}

/** What counts now; undefined for an unknown bot. */
export async function selectSecrets(sql: Sql, botId: number): Promise<StoredSecrets | undefined> {
  const [row] = await sql<StoredSecrets[]>`
    SELECT webhook_secret AS plain, webhook_secret_sealed AS sealed,
      CASE WHEN coalesce(webhook_former_until, 'infinity') > now() THEN webhook_former_sealed END AS former
    FROM bot WHERE id = ${botId}`;
  return row;
}

export interface LockedSecrets {
  plain: string;
  sealed: string | null;
  version: number;
  /** Telegram may not know the present one. */
  pending: boolean;
}

/** Held until the transaction ends. */
export async function lockSecrets(
  tx: TransactionSql,
  botId: number,
  accountId: number,
): Promise<LockedSecrets | undefined> {
  const [row] = await tx<LockedSecrets[]>`
    SELECT webhook_secret AS plain, webhook_secret_sealed AS sealed, webhook_version AS version,
      (webhook_former_sealed IS NOT NULL AND webhook_former_until IS NULL) AS pending
    FROM bot WHERE id = ${botId} AND account_id = ${accountId} FOR NO KEY UPDATE`;
  return row;
}

export async function updateRotated(
  tx: TransactionSql,
  botId: number,
  { sealed, former }: { sealed: string; former: string },
): Promise<void> {
  await tx`
    UPDATE bot SET webhook_secret = '', webhook_secret_sealed = ${sealed}, webhook_former_sealed = ${former},
      webhook_former_until = NULL, webhook_version = webhook_version + 1
    WHERE id = ${botId}`;
}

/** What Telegram has sent with the former secret and could not deliver at once, it sends again within a few minutes. */
const FORMER_MINUTES = 10;

/** Nothing if there is a newer secret meanwhile, which Telegram may not know. */
export async function endFormer(sql: Sql, botId: number, version: number): Promise<void> {
  await sql`
    UPDATE bot SET webhook_former_until = now() + ${FORMER_MINUTES} * interval '1 minute'
    WHERE id = ${botId} AND webhook_version = ${version} AND webhook_former_sealed IS NOT NULL
      AND webhook_former_until IS NULL`;
}

const BATCH = 500;

export async function selectPlain(sql: Sql): Promise<{ botId: number; secret: string }[]> {
  return await sql<{ botId: number; secret: string }[]>`
    SELECT id AS "botId", webhook_secret AS secret FROM bot
    WHERE webhook_secret_sealed IS NULL AND webhook_secret <> '' ORDER BY id LIMIT ${BATCH}`;
}

export async function updateSealed(tx: TransactionSql, botId: number, sealed: string): Promise<void> {
  await tx`
    UPDATE bot SET webhook_secret_sealed = ${sealed}, webhook_secret = ''
    WHERE id = ${botId} AND webhook_secret_sealed IS NULL`;
}
