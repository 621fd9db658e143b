/** Statements about sealed values, whichever they are. Names of tables and columns are our own. */
import type { Sql, TransactionSql } from "#services/core/database/client.ts";

export interface SealedColumn {
  table: "bot" | "sealed_secret";
  /** The primary key: an `id` is a number, a `name` is a text. */
  key: "id" | "name";
  column: string;
}

export interface SealedValue {
  key: string;
  sealed: string;
}

const BATCH = 500;

/** Values that do not begin with the prefix, by key. */
export async function selectToReseal(
  sql: Sql,
  { table, key, column }: SealedColumn,
  { after, prefix }: { after: string; prefix: string },
): Promise<SealedValue[]> {
  const beyond =
    key === "id" ? sql`${sql(key)} > ${after === "" ? 0 : Number(after)}::bigint` : sql`${sql(key)} > ${after}::text`;
  return await sql<SealedValue[]>`
    SELECT ${sql(key)}::text AS key, ${sql(column)} AS sealed FROM ${sql(table)}
    WHERE ${beyond} AND NOT starts_with(${sql(column)}, ${prefix}) ORDER BY ${sql(key)} LIMIT ${BATCH}`;
}

/** Only where the value still is the one that was read. @returns how many. */
export async function updateResealed(
  tx: TransactionSql,
  { table, key, column }: SealedColumn,
  values: readonly { key: string; from: string; to: string }[],
): Promise<number> {
  const result = await tx`
    UPDATE ${tx(table)} AS t SET ${tx(column)} = k.sealed_to
    FROM unnest(${values.map((one) => one.key)}::text[], ${values.map((one) => one.from)}::text[],
      ${values.map((one) => one.to)}::text[]) AS k (of, sealed_from, sealed_to)
    WHERE t.${tx(key)}::text = k.of AND t.${tx(column)} = k.sealed_from`;
  return result.count;
}
