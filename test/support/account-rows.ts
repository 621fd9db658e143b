import type { Sql } from "#services/core/database/client.ts";

export interface AccountRow {
  /** Default true. */
  paid?: boolean;
  /** The tariff's feature; default true. */
  broadcasts?: boolean;
  /** Default 0: unlimited. */
  dailyCap?: number;
}

/** An account on a tariff of its own. @returns its id. */
export async function insertAccount(sql: Sql, row: AccountRow = {}): Promise<number> {
  const { paid = true, broadcasts = true, dailyCap = 0 } = row;
  const [account] = await sql<{ id: number }[]>`
    WITH t AS (INSERT INTO tariff (name, broadcasts, daily_cap) VALUES ('test', ${broadcasts}, ${dailyCap}) RETURNING id)
    INSERT INTO account (name, tariff_id, paid_until)
    SELECT 'test', id, now() + ${paid ? 1 : -1} * interval '1 hour' FROM t RETURNING id`;
  return account!.id;
}
