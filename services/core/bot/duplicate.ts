/** Statements that take a number from a row; see number.ts. */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";
import { HoldReason } from "#services/core/ledger/send.ts";
import { DUPLICATE_MESSAGE, NumberState } from "./number.ts";

/** Makes these rows duplicates, each of the number that it stood for, and holds them. */
export async function makeDuplicates(
  tx: TransactionSql,
  bots: readonly { id: number; number: number }[],
): Promise<void> {
  if (bots.length === 0) return;
  const ids = bots.map(({ id }) => id);
  await tx`
    UPDATE bot b SET number = NULL, number_state = ${NumberState.duplicate}, former_numbers = former_numbers || k.number
    FROM unnest(${ids}::bigint[], ${bots.map(({ number }) => number)}::bigint[]) AS k (id, number) WHERE b.id = k.id`;
  await tx`
    INSERT INTO lane (bot_id, reason, message)
    SELECT k, ${HoldReason.duplicate}::smallint, ${DUPLICATE_MESSAGE} FROM unnest(${ids}::bigint[]) AS k ORDER BY k
    ON CONFLICT DO NOTHING`;
}

/**
 * Takes a number from the row that was found to have a dead token, if it still has that one.
 * @returns false if it was replaced meanwhile.
 */
export async function releaseNumber(sql: Sql, holder: { id: number; tokenVersion: number }): Promise<boolean> {
  return await sql.begin(async (tx) => {
    const rows = await tx<{ id: number; number: number }[]>`
      SELECT id, number FROM bot
      WHERE id = ${holder.id} AND token_version = ${holder.tokenVersion} AND number IS NOT NULL FOR NO KEY UPDATE`;
    await makeDuplicates(tx, rows);
    return rows.length > 0;
  });
}

/**
 * Takes a number for the service bot. Its row is held, so a PutBot that wants the number at this moment comes before, and is
 * found, or after, and is refused.
 * @returns the bot that had it and is a duplicate now.
 */
export async function takeServiceNumber(sql: Sql, number: number): Promise<number | undefined> {
  return await sql.begin(async (tx) => {
    await tx`UPDATE service_bot SET number = ${number} WHERE id = 1`;
    const rows = await tx<{ id: number; number: number }[]>`
      SELECT id, number FROM bot WHERE number = ${number} FOR NO KEY UPDATE`;
    await makeDuplicates(tx, rows);
    return rows[0]?.id;
  });
}
