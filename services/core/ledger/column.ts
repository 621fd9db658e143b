/**
 * One field of many rows as one array parameter, for `::text::bigint[]` and the like: postgres.js looks at each element of
 * an array for what must be escaped, and here they are thousands a second.
 */
export function column<Field extends string>(rows: readonly Record<Field, number | null>[], field: Field): string {
  return `{${rows.map((row) => row[field] ?? "NULL").join(",")}}`;
}
