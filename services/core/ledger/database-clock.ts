/**
 * Times that decide anything are Postgres' own: replicas' clocks may differ by an hour and change nothing. Tests turn the
 * time by an offset that every statement adds.
 */
export interface DatabaseClock {
  /** Milliseconds that statements add to Postgres' now(); 0 outside tests. */
  offsetMs(): number;
}

export const databaseClock: DatabaseClock = { offsetMs: () => 0 };
