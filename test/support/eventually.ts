/** How often a condition is looked at. */
const pollIntervalMs = 10;

/**
 * Calls `fn` until it neither throws nor returns false or undefined, and returns what it returned.
 *
 * @throws after `timeoutMs` (default 10,000): what `fn` threw last, or that the condition never held.
 */
export async function eventually<T>(
  fn: () => T | Promise<T>,
  { timeoutMs = 10_000 }: { timeoutMs?: number } = {},
): Promise<Exclude<T, false | undefined>> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const attempt = await tryOnce(fn);
    if ("value" in attempt) return attempt.value;
    if (performance.now() >= deadline) {
      throw attempt.error ?? new Error(`The condition did not hold within ${timeoutMs} ms: ${fn.toString()}`);
    }
    await Bun.sleep(pollIntervalMs);
  }
}

type Attempt<T> = { value: Exclude<T, false | undefined> } | { error?: unknown };

async function tryOnce<T>(fn: () => T | Promise<T>): Promise<Attempt<T>> {
  try {
    const value = await fn();
    return value === false || value === undefined ? {} : { value: value as Exclude<T, false | undefined> };
  } catch (error) {
    return { error };
  }
}
