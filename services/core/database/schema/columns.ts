import { bigint, customType, timestamp } from "drizzle-orm/pg-core";

/** Ids fit a JavaScript number: the API refuses anything past 2^53 − 1. */
export const id = (name: string) => bigint(name, { mode: "number" });

/** A moment, with time zone, read as a Date. */
export const moment = (name: string) => timestamp(name, { withTimezone: true, mode: "date" });

export const bytea = customType<{ data: Uint8Array }>({ dataType: () => "bytea" });
