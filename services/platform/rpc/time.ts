import { type Timestamp, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { DomainError, ErrorReason } from "#services/platform/domain-error.ts";

/** The end of the year 9999, where a protobuf Timestamp and its JSON end. */
const LAST_SECOND = 253_402_300_799n;

/** How far a caller's clock may be ahead of Postgres', in times of things that have happened. */
export const MAX_AHEAD_SECONDS = 300;

/**
 * Whether a Timestamp is a moment that the database stores and every client reads back as it was: the years 1970 to 9999.
 * REST counts seconds from 1970, and dates with fewer than four digits are read differently by different parsers.
 */
export function isStorable({ seconds, nanos }: Pick<Timestamp, "seconds" | "nanos">): boolean {
  return seconds >= 0n && seconds <= LAST_SECOND && nanos >= 0 && nanos < 1_000_000_000;
}

/**
 * A Timestamp as a Date, cut to milliseconds: rounded up, the last moment of 9999 would be the year 10000.
 * @throws DomainError INVALID_ARGUMENT naming `field` if it is outside the years 1970 to 9999.
 */
export function dateFromTimestamp(timestamp: Timestamp, field: string): Date {
  checkStorable(timestamp, field);
  return new Date(Number(timestamp.seconds) * 1000 + Math.floor(timestamp.nanos / 1_000_000));
}

/**
 * A Timestamp as microseconds since the Unix epoch, which is as fine as Postgres keeps it: two events of one millisecond
 * stay in order. Exact up to the year 2255.
 * @throws DomainError INVALID_ARGUMENT naming `field` if it is outside the years 1970 to 9999.
 */
export function microsecondsFromTimestamp(timestamp: Timestamp, field: string): number {
  checkStorable(timestamp, field);
  return Number(timestamp.seconds) * 1_000_000 + Math.floor(timestamp.nanos / 1000);
}

/**
 * The same of something that has happened.
 * @param nowUs Postgres' clock in microseconds.
 * @throws DomainError INVALID_ARGUMENT naming `field` if it is more than five minutes ahead.
 */
export function pastMicroseconds(timestamp: Timestamp, field: string, nowUs: number): number {
  const us = microsecondsFromTimestamp(timestamp, field);
  if (us <= nowUs + MAX_AHEAD_SECONDS * 1_000_000) return us;
  throw invalidTime(field, "must not be more than five minutes ahead");
}

function checkStorable(timestamp: Timestamp, field: string): void {
  if (!isStorable(timestamp)) throw invalidTime(field, "must be a time in the years 1970 to 9999");
}

function invalidTime(field: string, problem: string): DomainError {
  return new DomainError(ErrorReason.INVALID_ARGUMENT, `${field}: ${problem}`, { field });
}

/** The other way; null and undefined give an absent field. */
export function timestampFromMoment(moment: Date | null | undefined): Timestamp | undefined {
  return moment ? timestampFromDate(moment) : undefined;
}
