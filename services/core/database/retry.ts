/** SQLSTATE of a failed statement, whichever client ran it; undefined for any other error. */
export function sqlStateOf(error: unknown): string | undefined {
  return databaseFailure(error)?.code;
}

/** The constraint that a statement met; undefined for any other error. */
export function constraintOf(error: unknown): string | undefined {
  return databaseFailure(error)?.constraint_name;
}

interface DatabaseFailure {
  code?: string;
  constraint_name?: string;
}

/** Drizzle wraps the client's error. */
function databaseFailure(error: unknown): DatabaseFailure | undefined {
  if (!(error instanceof Error)) return undefined;
  const failure = (error.name === "PostgresError" ? error : error.cause) as DatabaseFailure | undefined;
  return typeof failure?.code === "string" ? failure : undefined;
}

export const SqlState = {
  foreignKeyViolation: "23503",
  uniqueViolation: "23505",
  serializationFailure: "40001",
  deadlockDetected: "40P01",
  lockNotAvailable: "55P03",
} as const;

/** Enough for any collision that can happen by chance; after that something else is wrong. */
const MAX_ATTEMPTS = 5;

/**
 * Runs a whole transaction again when it met another one: a deadlock, or a key that was assigned twice because an
 * explicit id came in between. `work` must have no effect outside its transaction.
 */
export async function retryCollisions<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (attempt === MAX_ATTEMPTS || !isCollision(error)) throw error;
    }
  }
}

function isCollision(error: unknown): boolean {
  const state = sqlStateOf(error);
  if (state === SqlState.uniqueViolation) return constraintOf(error)?.endsWith("_pkey") ?? false;
  return state === SqlState.deadlockDetected || state === SqlState.serializationFailure;
}
