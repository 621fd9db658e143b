import { type Timestamp, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { DomainError, ErrorReason } from "./domain-error.ts";

/** The years 0001 to 9999, as protobuf defines a Timestamp; the binary format can carry others. */
const FIRST_SECOND = -62_135_596_800n;
const LAST_SECOND = 253_402_300_799n;

/**
 * A Timestamp as a Date, cut to milliseconds.
 * @throws DomainError INVALID_ARGUMENT naming `field` if it is outside the years 0001 to 9999.
 */
export function dateFromTimestamp(timestamp: Timestamp, field: string): Date {
  checkRange(timestamp, field);
  return new Date(Number(timestamp.seconds) * 1000 + Math.floor(timestamp.nanos / 1_000_000));
}

/**
 * A Timestamp as microseconds since the Unix epoch, which is as fine as Postgres keeps it: two events of one millisecond
 * stay in order. Exact up to the year 2255.
 * @throws DomainError INVALID_ARGUMENT naming `field` if it is outside the years 0001 to 9999.
 */
export function microsecondsFromTimestamp(timestamp: Timestamp, field: string): number {
  checkRange(timestamp, field);
  return Number(timestamp.seconds) * 1_000_000 + Math.floor(timestamp.nanos / 1000);
}

function checkRange({ seconds, nanos }: Timestamp, field: string): void {
  const fits = seconds >= FIRST_SECOND && seconds <= LAST_SECOND && nanos >= 0 && nanos < 1_000_000_000;
  if (fits) return;
  throw new DomainError(ErrorReason.INVALID_ARGUMENT, `${field}: must be in the years 0001 to 9999`, { field });
}

/** The other way; null and undefined give an absent field. */
export function timestampFromMoment(moment: Date | null | undefined): Timestamp | undefined {
  return moment ? timestampFromDate(moment) : undefined;
}
