const pollIntervalMs = 50;
const answerTimeoutMs = 1_000;

/**
 * Waits until a GET of that address is answered with 200.
 *
 * @throws when `timeoutMs` have passed, or the signal aborts.
 */
export async function untilReady(url: string, timeoutMs: number, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await isReady(url))) {
    signal.throwIfAborted();
    if (performance.now() > deadline) throw new Error(`${url} is not answered within ${timeoutMs / 1000} s`);
    await Bun.sleep(pollIntervalMs);
  }
}

export async function isReady(url: string): Promise<boolean> {
  try {
    const reply = await fetch(url, { signal: AbortSignal.timeout(answerTimeoutMs) });
    await reply.arrayBuffer();
    return reply.ok;
  } catch {
    return false;
  }
}
